/* SPDX-License-Identifier: MIT */
/*
 * arena_look.c - judge what stands under a store's names, and remove what is nobody's.
 *
 *   sync object    arena             attached?   opening gives         leftover?
 *   -----------    -----             ---------   -------------         ---------
 *   none           none              -           ENOSTORE              (nothing there)
 *   empty          none              no          ENOSTORE              fresh: make it here
 *   any of ours    none              yes         EDEFUNCT              no
 *   any of ours    none              no          ENOSTORE              yes
 *   none           any of ours       unknown     EDEFUNCT              yes
 *   not made, BUILDING, other boot,
 *   not a pair, cut short            yes / no    EDEFUNCT / ENOSTORE   no / yes
 *   READY          DEFUNCT           any         EDEFUNCT              yes (removal half done)
 *   not ours: other content          -           EFORMAT               no: never touched
 *   other version or features        -           EVERSION              no
 *   not a trusted owner, no access   -           EACCES                no
 *   impossible state or geometry     -           ECORRUPT              no: destroy removes it
 *   READY          READY             any         0                     no
 *
 * Trusted owners are oneself, root, and the owner of the image if there is one.  Root may look at
 * everybody's stores, but does not use them where it asked for its own to be made if missing: in a
 * directory that all may write to, another user could have put his there first (the kernel's
 * fs.protected_regular draws the same line).
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "descriptor.h"
#include "error.h"
#include "futex.h"
#include "point.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

static const uint8_t unknown_boot[16];

static int check_owner(const struct arena *a, const char *path, const struct stat *st,
                       bool creating)
{
    uid_t me = geteuid();
    if (st->st_uid == me || st->st_uid == 0 || (me == 0 && !creating) ||
        (int64_t)st->st_uid == a->trusted)
        return 0;
    return error_set(SHMKV_EACCESS,
                     "%s: %s belongs to uid %u, neither to you (uid %u) nor to root, so it is not "
                     "trusted; %s",
                     a->name, path, st->st_uid, me,
                     me == 0 ? "if it is to be used, open it without asking for its creation"
                             : "choose another name");
}

/* Open object @path for looking.  0 with *@fd -1: there is none. */
static int open_object(const struct arena *a, const char *path, bool creating, struct stat *st,
                       int *fd)
{
    *fd = descriptor_open(path, O_RDONLY | ARENA_OPEN_FLAGS, 0);
    if (*fd < 0 && errno == ENOENT)
        return 0;
    if (*fd < 0 && errno == EACCES && lstat(path, st) == 0) {
        int rc = check_owner(a, path, st, creating);
        return rc ? rc : arena_name_denied(a, path);
    }
    if (*fd < 0)
        return arena_name_error(a, "opening", path);
    if (fstat(*fd, st) != 0)
        return arena_name_error(a, "looking at", path);
    if (!S_ISREG(st->st_mode)) {
        errno = EISDIR;
        return arena_name_error(a, "opening", path);
    }
    return check_owner(a, path, st, creating);
}

/* Has nobody written its head, or not all of it? */
static bool is_blank(const unsigned char page[PAGE_BYTES])
{
    uint64_t magic;
    memcpy(&magic, page, sizeof(magic));
    return magic == LAYOUT_MAKING || (page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0);
}

/* What lies beyond the end reads as zero. */
static bool read_page(int fd, unsigned char page[PAGE_BYTES])
{
    ssize_t n;
    memset(page, 0, PAGE_BYTES);
    do {
        n = pread(fd, page, PAGE_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

/*
 * Read the head of an object.  Without LOCK_CREATE a creator may write it meanwhile: its first word
 * was read before he stored it, and what follows after.  Then the first word is there by now, since
 * it is what he stores first; pairs with write_heads() [A9]: a system call lies between the reads.
 */
static int read_head(const struct arena *a, int fd, void *head, size_t size, bool *blank)
{
    unsigned char page[PAGE_BYTES];
    bool read = read_page(fd, page);
    if (read && page[0] == 0 && !is_blank(page))
        read = read_page(fd, page);
    if (!read)
        return error_errno(SHMKV_ESYSTEM, "%s: reading its objects", a->name);
    *blank = is_blank(page);
    memcpy(head, page, size);
    return 0;
}

static int check_format(const struct arena *a, const char *path, uint64_t magic, uint64_t expected)
{
    if (magic == expected)
        return 0;
    return error_set(SHMKV_EFORMAT,
                     "%s: %s is no object of a store (it begins with %016llx) and is left alone; "
                     "remove it or choose another name",
                     a->name, path, (unsigned long long)magic);
}

static int check_version(const struct arena *a, uint32_t version, uint32_t features)
{
    if (version == LAYOUT_VERSION && (features & ~ARENA_FEATURES) == 0)
        return 0;
    if (arena_name_imaged(a)) /* "remove it" would be taken for the image */
        return error_set(
            SHMKV_EVERSION,
            "%s: its memory %s was made with format %u, features %#x; this is "
            "shmkv " SHMKV_VERSION_STRING " for format %u, features %#x; use the version that made "
            "it; or, if nothing was written after its last checkpoint, shmkv destroy shm:%s: that "
            "removes the memory only, and the image is loaded anew",
            a->name, a->path, version, features, LAYOUT_VERSION, ARENA_FEATURES,
            arena_name_bare(a));
    return error_set(SHMKV_EVERSION,
                     "%s was made with format %u, features %#x; this is shmkv " SHMKV_VERSION_STRING
                     " for format %u, features %#x; use the version that made it, or remove it",
                     a->name, version, features, LAYOUT_VERSION, ARENA_FEATURES);
}

/*
 * It cannot change while we run, so it is read once.  A container may have put a file of its own in
 * the place (systemd-nspawn does), which not all who share the memory see: that says nothing.
 */
static uint8_t boot_id[16];
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;

static void read_boot_id(void)
{
    char text[64] = "";
    struct statfs fs;
    int fd = descriptor_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
    bool genuine = fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
    ssize_t n = genuine ? read(fd, text, sizeof(text) - 1) : 0;
    unsigned digits = 0;

    for (ssize_t i = 0; i < n && digits < 32; i++) {
        const char *hex = "0123456789abcdef";
        const char *digit = text[i] ? strchr(hex, text[i]) : NULL;
        if (!digit)
            continue;
        boot_id[digits / 2] = (uint8_t)(boot_id[digits / 2] << 4 | (digit - hex));
        digits++;
    }
    if (fd >= 0)
        close(fd);
}

void arena_look_boot_id(uint8_t id[16])
{
    pthread_once(&boot_once, read_boot_id);
    memcpy(id, boot_id, sizeof(boot_id));
}

/* Memory of an earlier boot can only come from a restored snapshot of the file system. */
static bool other_boot(const struct superblock *sb)
{
    uint8_t id[16];
    arena_look_boot_id(id);
    return memcmp(sb->boot_id, unknown_boot, 16) != 0 && memcmp(id, unknown_boot, 16) != 0 &&
           memcmp(sb->boot_id, id, 16) != 0;
}

static int judge_missing(const struct arena *a, struct arena_look *look)
{
    if (!look->arena_there && !look->sync_there)
        return error_set(SHMKV_ENOSTORE, "there is no store %s (%s); create it first", a->name,
                         a->path);
    if (look->attached)
        return error_set(SHMKV_EDEFUNCT,
                         "%s: %s was removed while processes use it; it can be made anew when they "
                         "have closed it (fuser -v %s names them)",
                         a->name, a->path, a->sync_path);
    look->leftover = true;
    look->fresh = look->sync_there && look->sync.st_size == 0;
    if (look->sync_there)
        return error_set(SHMKV_ENOSTORE,
                         "there is no store %s: only %s is left of it; create it anew", a->name,
                         a->sync_path);
    return error_set(SHMKV_EDEFUNCT,
                     "%s: %s was removed, so the rest is of no use; create the store anew", a->name,
                     a->sync_path);
}

/* Why the two objects are no store; NULL if they are one, or too damaged to tell. */
static const char *unusable(const struct arena_look *look)
{
    if (look->arena_blank || look->sync_blank || load_relaxed(&look->sb.state) == STORE_BUILDING)
        return "was never finished, its creator died";
    if (other_boot(&look->sb))
        return "is of an earlier boot of the machine";
    if (arena_geometry_valid(&look->sb) && ((uint64_t)look->arena.st_size < look->sb.reserve ||
                                            (uint64_t)look->sync.st_size < SYNC_BYTES))
        return "was cut short";
    return NULL;
}

static int judge_pair(const struct arena *a, struct arena_look *look)
{
    if (load_relaxed(&look->sb.state) == STORE_DEFUNCT) {
        look->leftover = true;
        return error_set(SHMKV_EDEFUNCT, "%s is being removed", a->name);
    }
    const char *why = unusable(look);
    if (why) {
        look->leftover = !look->attached;
        return error_set(look->attached ? SHMKV_EDEFUNCT : SHMKV_ENOSTORE,
                         "%s cannot be used: it %s; %s", a->name, why,
                         look->attached ? "it can be made anew when the processes that have it "
                                          "open have closed it"
                                        : "create it anew");
    }
    if (load_relaxed(&look->sb.state) == STORE_READY && arena_geometry_valid(&look->sb) &&
        memcmp(look->sb.uuid, look->header.uuid, sizeof(look->sb.uuid)) == 0)
        return 0;
    if (arena_name_imaged(a)) /* "remove the store" would be taken for the image, too */
        return error_set(SHMKV_ECORRUPT,
                         "%s: its memory %s is damaged: its superblock makes no sense; shmkv "
                         "destroy shm:%s removes the memory only, and the image is loaded anew, as "
                         "of its last checkpoint",
                         a->name, a->path, arena_name_bare(a));
    return error_set(SHMKV_ECORRUPT,
                     "%s is damaged: its superblock in %s makes no sense; remove the store "
                     "(shmkv destroy) and create it anew",
                     a->name, a->path);
}

static int judge(const struct arena *a, struct arena_look *look)
{
    int rc = 0; /* relaxed, all: copies */
    if (look->arena_there && !look->arena_blank) {
        rc = check_format(a, a->path, load_relaxed(&look->sb.magic), LAYOUT_MAGIC);
        if (rc == 0)
            rc = check_version(a, look->sb.version, look->sb.features);
    }
    if (rc == 0 && look->sync_there && !look->sync_blank) {
        rc = check_format(a, a->sync_path, load_relaxed(&look->header.magic), LAYOUT_SYNC_MAGIC);
        if (rc == 0)
            rc = check_version(a, look->header.version, look->header.features);
    }
    if (rc != 0)
        return rc;
    return look->arena_there && look->sync_there ? judge_pair(a, look) : judge_missing(a, look);
}

void arena_look(const struct arena *a, bool creating, struct arena_look *look)
{
    int fd = -1, sync_fd = -1;
    memset(look, 0, sizeof(*look));
    int rc = open_object(a, a->sync_path, creating, &look->sync, &sync_fd);
    if (rc == 0)
        rc = open_object(a, a->path, creating, &look->arena, &fd);
    look->sync_there = sync_fd >= 0;
    look->arena_there = fd >= 0;
    if (rc == 0 && fd >= 0)
        rc = read_head(a, fd, &look->sb, sizeof(look->sb), &look->arena_blank);
    if (rc == 0 && sync_fd >= 0) {
        rc = read_head(a, sync_fd, &look->header, sizeof(look->header), &look->sync_blank);
        look->attached = lockpage_held(sync_fd, LOCK_ATTACHED);
    }
    look->rc = rc ? rc : judge(a, look);
    if (fd >= 0)
        close(fd);
    if (sync_fd >= 0)
        close(sync_fd);
}

/* ---- removal ------------------------------------------------------------------------------- */

/* Those attached see it with their next write, and leave.  By pwrite(2), not by a mapping: whoever
 * owns the object might cut it short under us.  One byte changes, so no reader sees a mixture. */
static bool mark_defunct(const struct arena *a)
{
    const uint32_t defunct = STORE_DEFUNCT;
    struct superblock head;
    bool blank = true;
    int fd = descriptor_open(a->path, O_RDWR | ARENA_OPEN_FLAGS, 0);
    bool used = fd >= 0 && read_head(a, fd, &head, sizeof(head), &blank) == 0 && !blank &&
                load_relaxed(&head.state) != STORE_BUILDING;
    if (used)
        used = pwrite(fd, &defunct, sizeof(defunct), offsetof(struct superblock, state)) > 0;
    if (fd >= 0)
        close(fd);
    return used;
}

/* Who sleeps until a key changes would sleep for ever. */
static void wake_all(const struct arena *a)
{
    int fd = descriptor_open(a->sync_path, O_RDWR | ARENA_OPEN_FLAGS, 0);
    struct stat st;
    char *sync = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= (off_t)SYNC_PROCESS_OFFSET)
        sync = mmap(NULL, SYNC_PROCESS_OFFSET, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (sync != MAP_FAILED) {
        struct wait_word *words = (void *)(sync + SYNC_WAIT_OFFSET);
        for (unsigned i = 0; i < WAIT_WORDS; i++) {
            add_seq_cst(&words[i].changes, 1u); /* who is about to sleep sees it in FUTEX_WAIT */
            futex_wake(&words[i].changes, INT_MAX);
        }
        munmap(sync, SYNC_PROCESS_OFFSET);
    }
    if (fd >= 0)
        close(fd);
}

/* Asked before anything is changed; a sticky directory would refuse only afterwards. */
static bool may_remove(const char *path)
{
    struct stat st;
    return geteuid() == 0 || lstat(path, &st) != 0 || st.st_uid == geteuid();
}

int arena_look_remove(const struct arena *a)
{
    if (!may_remove(a->path))
        return arena_name_denied(a, a->path);
    if (!may_remove(a->sync_path))
        return arena_name_denied(a, a->sync_path);
    bool used = mark_defunct(a);
    POINT("remove.marked");
    if (used)
        wake_all(a);
    if (unlink(a->path) != 0 && errno != ENOENT)
        return arena_name_error(a, "removing", a->path);
    POINT("remove.arena");
    if (unlink(a->sync_path) != 0 && errno != ENOENT)
        return arena_name_error(a, "removing", a->sync_path);
    POINT("remove.sync");
    return 0;
}
