/* SPDX-License-Identifier: MIT */
/* durable.c - see durable.h. */
#include "durable.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "atomic_text.h"
#include "clock.h"
#include "collect.h"
#include "error.h"
#include "futex.h"
#include "point.h"

#define NS_PER_MS 1000000u
#define WAIT_NS 20000000ll      /* between tries for the lease of one who may have died */
#define LOOK_NS 20000000ull     /* between looks at how much is to be written */
#define FAILED_NS 1000000000ull /* between tries to open an image that cannot be opened */
#define EARLY_SHIFT 3           /* an eighth of the store is not waited for */
#define FINISH_ROUNDS 4u

static struct durable_words *words(const struct durable *d)
{
    return &d->arena->sync->durable;
}

static struct lockpage_file image_file(const struct durable *d)
{
    const struct superblock *sb = d->arena->sb;
    return (struct lockpage_file){d->path, sb->image_device, sb->image_inode};
}

/* ---- one thread at a time ------------------------------------------------------------------- */

static bool enter(struct durable *d)
{
    uint64_t holder = load_relaxed(&d->busy);
    return holder != fork_word() && cas_acq_rel(&d->busy, &holder, fork_word()); /* [D1] */
}

static void leave(struct durable *d)
{
    store_release(&d->busy, 0); /* pairs with enter [D1] */
}

/* ---- the lease ------------------------------------------------------------------------------ */

static uint32_t own_name(const struct durable *d)
{
    return d->process->index + 1;
}

/* The image is closed. */
static void release(struct durable *d)
{
    uint32_t self = own_name(d);
    cas_relaxed(&words(d)->holder, &self, 0); /* relaxed: information */
    POINT("durable.giving_up");
    lockpage_release(d->lease);
    d->lease = NULL;
}

static void give_up(struct durable *d)
{
    if (d->lease == NULL)
        return;
    image_close(&d->image);
    release(d);
}

/* Does the image hold this store, as loaded last into this arena?  Another that was written over it
 * has another number of segments, too, and other bytes under the same numbers. */
static bool is_of_arena(const struct durable *d)
{
    const struct superblock *sb = d->arena->sb;
    const struct image *im = &d->image;
    return arena_is_image(sb, im->file.device, im->file.inode) &&
           memcmp(im->super.uuid, sb->uuid, sizeof(sb->uuid)) == 0 &&
           im->head.generation == sb->generation &&
           im->super.segment_bytes == d->arena->segment_mask + 1 &&
           im->super.segment_count == arena_segments(d->arena);
}

/*
 * May the image that was opened be written to?  A commit that it does not have any more was taken
 * away by who put an older copy in its place, and wants that.
 */
static int check_image(const struct durable *d)
{
    const struct arena *a = d->arena;
    if (!is_of_arena(d))
        return error_set(SHMKV_EDEFUNCT,
                         "%s was replaced while the store was in use; close the store and open it "
                         "again",
                         d->path);
    if (d->image.head.sequence < load_acquire(&words(d)->sequence)) /* [D2] */
        return error_set(SHMKV_EDEFUNCT,
                         "%s is older than the store's memory, as if a backup had been put in its "
                         "place, and is not written over; close the store everywhere, and shmkv "
                         "destroy shm:%s removes the memory, so that the image is loaded; shmkv "
                         "backup saves what is in memory",
                         d->path, arena_name_bare(a));
    return 0;
}

/* SHMKV_EBUSY without a text: another process has it. */
static int take_lease(struct durable *d)
{
    struct lockpage_file file = image_file(d);
    if (d->lease != NULL)
        return 0;
    int rc = lockpage_take(&file, LOCK_KEEPER, true, &d->lease);
    if (rc != 0)
        return rc;
    POINT("durable.leased");
    store_relaxed(&words(d)->holder, own_name(d)); /* relaxed: information */
    rc = image_open(&d->image, d->path, false);
    if (rc == 0 && (rc = check_image(d)) != 0)
        image_close(&d->image);
    if (rc != 0) {
        release(d);
        return rc;
    }
    image_set_durable(&d->image, load_acquire(&words(d)->sequence)); /* [D2] */
    return 0;
}

bool durable_current(const struct durable *d)
{
    struct stat st;
    if (d->path == NULL)
        return true;
    if (stat(d->path, &st) != 0)
        return errno != ENOENT && errno != ENOTDIR; /* else it is not known */
    return arena_is_image(d->arena->sb, st.st_dev, st.st_ino);
}

/* ---- the interval --------------------------------------------------------------------------- */

uint64_t durable_interval_ms(const struct arena *a)
{
    uint64_t ms = load_relaxed(&a->sb->interval_ms); /* relaxed: a number of its own */
    return ms == 0 || ms > DURABLE_INTERVAL_MOST_MS ? DURABLE_INTERVAL_MS : ms;
}

/* In force for this process; it may change at any time. */
static uint64_t interval_ns(const struct durable *d)
{
    return d->own_ns != 0 ? d->own_ns : durable_interval_ms(d->arena) * NS_PER_MS;
}

/* When the keeper makes the next one. */
static uint64_t next_ns(const struct durable *d)
{
    uint64_t interval = min_u64(interval_ns(d), UINT64_MAX - d->begun_ns);
    return d->begun_ns == 0 ? d->rest_ns : max_u64(d->begun_ns + interval, d->rest_ns);
}

/* ---- one checkpoint ------------------------------------------------------------------------- */

static void tell_failure(struct durable *d, int rc)
{
    struct durable_words *w = words(d);
    atomic_text_store(w->text, TOLD_WORDS, error_text());  /* relaxed: shown by the add below */
    store_relaxed(&w->error, (uint32_t)-rc);               /* relaxed: shown by the next */
    store_relaxed(&w->made_until, load_relaxed(&w->made)); /* relaxed: information */
    add_seq_cst(&w->failures, 1u);                         /* pairs with durable_sync [D3] */
}

/* After an attempt: whoever waits looks again. */
static void wake_all(struct durable *d)
{
    add_seq_cst(&words(d)->word, 1u); /* pairs with durable_sync [D3] */
    futex_wake(&words(d)->word, INT_MAX);
}

void durable_raise_horizon(const struct durable *d, const struct participant *p)
{
    collect_renew_runs(p);
    segment_raise_horizon(d->arena);
}

/*
 * About how many bytes are to be written.  Of an image that is not settled nobody knows whether
 * what can be read of it is on the disk: he died, or was refused, who wrote it (INV-F3).
 */
static uint64_t unwritten(const struct durable *d)
{
    uint64_t pending = checkpoint_pending(&d->image, d->arena);
    return pending == 0 && !d->image.settled ? 1 : pending;
}

/* INV-E5: a cut raises G, those too that fail.  So the disk promises more first. */
static int have_ceiling(struct durable *d)
{
    struct superblock *sb = d->arena->sb;
    if (likely(!epoch_is_near_ceiling(d->arena)))
        return 0;
    int rc = image_begin(&d->image);
    if (rc == 0)
        rc = image_raise_ceiling(&d->image, load_seq_cst(&sb->epoch) + IMAGE_CEILING);
    if (rc == 0)
        max_seq_cst(&sb->ceiling, d->image.head.ceiling);
    return rc;
}

/* Inside enter(), with the lease. */
static int make(struct durable *d, const struct participant *p, uint32_t flags)
{
    uint64_t epoch;
    uint64_t begun = clock_mono_ns();
    int rc = have_ceiling(d);
    if (rc == 0)
        rc = checkpoint_make(&d->image, p, flags, &epoch);
    if (rc == 0) {
        if (d->image.settled) /* else who opens it next is to write the superblocks again */
            store_release(&words(d)->sequence, d->image.head.sequence); /* with take_lease [D2] */
        max_seq_cst(&d->arena->sb->ceiling, d->image.head.ceiling); /* what the disk has promised */
        max_seq_cst(&words(d)->epoch, epoch);                       /* [D3] */
        add_relaxed(&words(d)->made, 1);
    } else {
        tell_failure(d, rc);
    }
    uint64_t now = clock_mono_ns();
    store_relaxed(&words(d)->took_ns, now - begun); /* relaxed: information */
    d->begun_ns = begun;
    d->rest_ns = now + (now - begun); /* half the time, at most */
    POINT("durable.made");
    wake_all(d);
    return rc;
}

/* ---- sync ----------------------------------------------------------------------------------- */

/* Make the next cut, if that is ours to do: 1; 0: it is somebody else's; or an error. */
static int try_to_make(struct durable *d, const struct participant *p, uint64_t wanted)
{
    if (!enter(d))
        return 0;
    int rc = 1;
    if (load_seq_cst(&words(d)->epoch) < wanted) {
        rc = take_lease(d);
        if (rc == 0) {
            if (load_relaxed(&d->keeps) == 0) /* relaxed: policy; else the keeper does */
                durable_raise_horizon(d, p);
            make(d, p, 0); /* a failure is told to all, us included */
            rc = 1;
        } else if (rc == SHMKV_EBUSY) {
            rc = 0;
        }
        if (load_relaxed(&d->keeps) == 0) /* relaxed: a keeper that begins takes it again */
            give_up(d);
    }
    leave(d);
    return rc;
}

void durable_failure_text(const struct durable_words *w, char text[DURABLE_TEXT])
{
    atomic_text_load(w->text, TOLD_WORDS, text);
}

static int told_error(const struct durable *d)
{
    const struct durable_words *w = words(d);
    char text[DURABLE_TEXT];
    durable_failure_text(w, text);
    return error_set(-(int)load_relaxed(&w->error), "%s", text);
}

static int timed_out(const struct durable *d)
{
    uint32_t holder = load_relaxed(&words(d)->holder); /* relaxed: information */
    if (holder == 0 || holder > PROCESS_MAX)
        return error_set(SHMKV_ETIMEOUT, "%s: the checkpoint was not done in time", d->arena->name);
    const struct process_entry *e = &d->arena->processes[holder - 1];
    char process[PROCESS_NAME_WORDS * 8];
    atomic_text_load(e->name, PROCESS_NAME_WORDS, process);
    return error_set(SHMKV_ETIMEOUT,
                     "%s: the checkpoint was not done in time by process %" PRIu32
                     " (%s), which has the image; let it go on, or end it",
                     d->arena->name, load_relaxed(&e->pid), process);
}

static void ask(struct durable *d, uint64_t wanted)
{
    max_seq_cst(&words(d)->wanted, wanted);
    add_seq_cst(&words(d)->request, 1u); /* pairs with keeper.c, run [K2] */
    futex_wake(&words(d)->request, 1);
}

int durable_sync(struct durable *d, const struct participant *p, int64_t timeout_ms)
{
    struct durable_words *w = words(d);
    uint64_t wanted = load_seq_cst(&d->arena->sb->epoch);
    uint32_t failures = load_seq_cst(&w->failures);
    uint64_t begun = clock_mono_ns();
    max_seq_cst(&w->wanted, wanted);
    for (;;) {
        uint32_t seen = load_seq_cst(&w->word); /* before the look, so no attempt is missed [D3] */
        if (load_seq_cst(&w->failures) != failures)
            return told_error(d);
        if (load_seq_cst(&w->epoch) >= wanted)
            return 0;
        int rc = try_to_make(d, p, wanted);
        if (rc < 0)
            return rc;
        if (rc > 0)
            continue;
        uint64_t spent_ms = (clock_mono_ns() - begun) / NS_PER_MS;
        if (timeout_ms >= 0 && spent_ms >= (uint64_t)timeout_ms)
            return timed_out(d);
        ask(d, wanted); /* again each time: the keeper forgets what was asked before a failure */
        futex_wait(&w->word, seen, WAIT_NS);
    }
}

/* ---- the keeper ----------------------------------------------------------------------------- */

/* Relaxed: policy. */
static bool is_failing(const struct durable_words *w)
{
    return load_relaxed(&w->failures) != 0 &&
           load_relaxed(&w->made) == load_relaxed(&w->made_until);
}

/* After a failure one is tried even if there is nothing to write: who was told of it waits. */
static bool is_due(struct durable *d, uint64_t now)
{
    if (load_seq_cst(&words(d)->wanted) > load_seq_cst(&words(d)->epoch))
        return true;
    if (now < d->look_ns || d->own_ns == UINT64_MAX)
        return false;
    d->look_ns = now + LOOK_NS;
    uint64_t pending = unwritten(d);
    return (pending != 0 || is_failing(words(d))) &&
           (now >= next_ns(d) || pending >= load_relaxed(&d->arena->sb->size) >> EARLY_SHIFT);
}

bool durable_tick(struct durable *d, const struct participant *p, uint64_t now)
{
    if (d->path == NULL)
        return false;
    store_relaxed(&d->keeps, 1); /* relaxed: policy; before enter(), whoever is in keeps it too */
    if (!enter(d))
        return false;
    bool failed = false, made = false;
    if (d->lease != NULL || now >= d->look_ns) {
        if (d->lease == NULL)
            d->begun_ns = d->rest_ns = 0; /* what is there may be old */
        int rc = take_lease(d);
        if (rc != 0)
            d->look_ns = now + LOOK_NS;
        if (rc != 0 && rc != SHMKV_EBUSY) { /* the image cannot be opened for writing */
            tell_failure(d, rc);
            wake_all(d);
            d->look_ns = now + max_u64(LOOK_NS, min_u64(interval_ns(d), FAILED_NS));
        }
        if (rc == 0 && is_due(d, now)) {
            durable_raise_horizon(d, p);
            failed = make(d, p, 0) != 0;
            made = true;
        }
    }
    if (failed) { /* who wanted it was told; not again before time */
        store_seq_cst(&words(d)->wanted, 0);
        d->look_ns = next_ns(d);
    }
    leave(d);
    return made && !failed;
}

/* Only while no other thread of the process is at it. */
static bool enter_patiently(struct durable *d)
{
    while (!enter(d))
        clock_sleep_ns(100000);
    return true;
}

void durable_unkeep(struct durable *d)
{
    if (d->path == NULL)
        return;
    enter_patiently(d);
    store_relaxed(&d->keeps, 0); /* relaxed: policy */
    give_up(d);
    leave(d);
}

/* ---- life ----------------------------------------------------------------------------------- */

static int attach(struct durable *d)
{
    struct lockpage_file file = image_file(d);
    return lockpage_take(&file, LOCK_ATTACHED, false, &d->attach_page);
}

int durable_init(struct durable *d, const struct arena *a, const struct process *p,
                 const char *path)
{
    *d = (struct durable){.arena = a, .process = p, .fork_word = fork_word()};
    d->path = strdup(path);
    if (d->path == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a handle", path);
    int rc = attach(d);
    if (rc == 0 && !a->readonly)
        arena_set_image_path(a->sb, path); /* it may have been renamed */
    if (rc != 0) {
        free(d->path);
        d->path = NULL;
    }
    return rc;
}

/* Locks and the image are the parent's: its pages are not mapped here, but something else may be
 * where they were. */
static void forget_parents(struct durable *d)
{
    if (d->fork_word == fork_word())
        return;
    if (load_relaxed(&d->busy) == 0 && d->lease != NULL) {
        file_forget_map(&d->image.file);
        image_close(&d->image); /* else a thread of the parent was changing it: left alone */
    }
    d->image = (struct image){0};
    d->lease = d->attach_page = NULL;
    store_relaxed(&d->keeps, 0); /* relaxed, both: nobody else in this process knows the store */
    store_relaxed(&d->busy, 0);
    d->fork_word = fork_word();
}

int durable_after_fork(struct durable *d)
{
    if (d->path == NULL)
        return 0;
    forget_parents(d);
    return d->attach_page != NULL ? 0 : attach(d);
}

void durable_free(struct durable *d)
{
    if (d->path == NULL)
        return;
    forget_parents(d);
    give_up(d);
    lockpage_release(d->attach_page);
    free(d->path);
    d->path = NULL;
}

/* One round: 1: look again; 0: nothing is left, or somebody else has the lease; or an error. */
static int finish_once(struct durable *d, const struct participant *p)
{
    int rc = take_lease(d);
    if (rc != 0)
        return rc == SHMKV_EBUSY ? 0 : rc;
    uint64_t mark = arena_log_mark(d->arena); /* before the look: what comes later differs */
    uint64_t pending = unwritten(d);
    rc = pending != 0 ? make(d, p, IMAGE_CLEAN) : 0;
    if (pending == 0) /* relaxed: read when nobody is attached, arena_image.c */
        store_relaxed(&words(d)->settled, mark);
    give_up(d);
    /* who has written and closed since the look found the lease taken, and left it to us */
    return rc != 0 ? rc : pending != 0 || arena_log_mark(d->arena) != mark;
}

int durable_finish(struct durable *d, const struct participant *p)
{
    int rc = 1;
    if (d->path == NULL || d->own_ns == UINT64_MAX)
        return 0;
    enter_patiently(d);
    for (unsigned round = 0; rc == 1 && round < FINISH_ROUNDS; round++)
        rc = finish_once(d, p);
    leave(d);
    return rc < 0 ? rc : 0;
}
