/* SPDX-License-Identifier: MIT */
/**
 * shmkv.h - a key-value store that any number of local processes share in memory.
 *
 * Conventions that hold for every function below:
 *
 *  Return     0 on success, a negative SHMKV_E... code otherwise.  shmkv_strerror() names the
 *             code, shmkv_last_error() tells what happened to what, and what to do.
 *  Pointers   Handles, sections, readers and items must be valid, they are not checked.  A key, or
 *             a value with a length, that is NULL is SHMKV_EINVAL.
 *  Keys       1..SHMKV_KEY_MAX bytes, any bytes.  Values 0..4 GiB-1 bytes, any bytes, limited by
 *             the store (see shmkv_put()).  Sizes are in bytes, times in milliseconds.
 *  Ownership  What is passed in is copied before the call returns.  What is handed out by a
 *             zero-copy read belongs to the store and is valid until the section ends.
 *  Threads    A handle may be used by any number of threads at once; a section, a reader or a
 *             reservation belongs to whoever uses it, one thread at a time.
 *  Processes  Every call is safe against every other call in every other process, and against
 *             the death (kill -9) or stop of any process at any instruction.
 *  fork       The child may go on using the handle; sections and reservations that were open at
 *             the fork stay the parent's: in the child they can only be ended, without effect.
 *             A child forked by a signal handler that interrupted a write, or an opening or closing
 *             of a store, may only exec or _exit.
 *  Signals    A handler may read (begin, get, end) on a thread that has used the handle before.
 *             A write from a handler that interrupted a write returns SHMKV_EBUSY.
 */
#ifndef SHMKV_H
#define SHMKV_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SHMKV_API __attribute__((visibility("default")))
#else
#define SHMKV_API
#endif

#define SHMKV_VERSION_STRING "0.1.0"
#define SHMKV_KEY_MAX 65535u

/*
 * One line per error: name, code, short text (what shmkv_strerror() returns).  SHMKV_EBUSY is also
 * what shmkv_reserve() returns while the thread has a reservation open, and shmkv_set_warning() and
 * shmkv_close() if the function that tells of warnings calls them.
 */
#define SHMKV_ERRORS(X)                                                                            \
    X(SHMKV_ENOTFOUND, -1, "no such key")                                                          \
    X(SHMKV_EEXISTS, -2, "the key exists already")                                                 \
    X(SHMKV_EMISMATCH, -3, "the version is not the expected one")                                  \
    X(SHMKV_EINVAL, -4, "invalid argument")                                                        \
    X(SHMKV_EKEY, -5, "the key must have 1 to 65535 bytes")                                        \
    X(SHMKV_ETOOBIG, -6, "the value is too large for this store")                                  \
    X(SHMKV_ENOSPC, -7, "no room left")                                                            \
    X(SHMKV_EHELD, -8, "no room: a stopped process holds memory back")                             \
    X(SHMKV_EBUSY, -9, "busy: a write that was interrupted, or an open reservation")               \
    X(SHMKV_EREADONLY, -10, "the store is open for reading only")                                  \
    X(SHMKV_ECLOSED, -11, "the handle is closed")                                                  \
    X(SHMKV_ENOSTORE, -12, "no such store")                                                        \
    X(SHMKV_ESTOREEXISTS, -13, "the store exists already")                                         \
    X(SHMKV_EFORMAT, -14, "not a shmkv store")                                                     \
    X(SHMKV_EVERSION, -15, "the store has a format this version does not know")                    \
    X(SHMKV_ECORRUPT, -16, "the store is damaged")                                                 \
    X(SHMKV_EDEFUNCT, -17, "the store's shared memory was removed")                                \
    X(SHMKV_EACCESS, -18, "permission denied")                                                     \
    X(SHMKV_ETIMEOUT, -19, "timed out")                                                            \
    X(SHMKV_ENOTNUM, -20, "the value is not a 64-bit decimal number")                              \
    X(SHMKV_EOVERFLOW, -21, "the number would overflow 64 bits")                                   \
    X(SHMKV_ELIMIT, -22, "too many processes, threads or handles")                                 \
    X(SHMKV_ENOTSUP, -23, "not supported")                                                         \
    X(SHMKV_ESYSTEM, -24, "a system call failed")                                                  \
    X(SHMKV_EBUFFER, -25, "the buffer is too small")                                               \
    X(SHMKV_EINUSE, -26, "the store is in use")                                                    \
    X(SHMKV_EIO, -27, "reading or writing the image failed")

enum shmkv_error {
#define SHMKV_ERROR_ENUM(name, code, text) name = code,
    SHMKV_ERRORS(SHMKV_ERROR_ENUM)
#undef SHMKV_ERROR_ENUM
};

/* An open store.  Opaque. */
struct shmkv;

/* ---- life ---------------------------------------------------------------------------------- */

enum shmkv_open_flag {
    SHMKV_CREATE = 1u << 0,    /* make the store if it does not exist */
    SHMKV_EXCLUSIVE = 1u << 1, /* with SHMKV_CREATE: fail if it exists */
    SHMKV_READONLY = 1u << 2,  /* map the data read-only; every write fails */
    SHMKV_PRELOAD = 1u << 3,   /* fault the store's memory in before returning */
    SHMKV_NO_KEEPER = 1u << 4, /* run no housekeeping thread in this process */
    SHMKV_KEEPER = 1u << 5,    /* run it from the start, and before those of other processes */
    SHMKV_CACHE = 1u << 6,     /* a new store is a cache: it evicts keys rather than be full */
    SHMKV_LIVE = 1u << 7,      /* with SHMKV_READONLY: only a store that is in memory */
};

/* How to open.  Zero is a good value for every member. */
struct shmkv_options {
    uint32_t flags;       /* enum shmkv_open_flag, or'ed */
    uint32_t mode;        /* permission bits of a new store; 0 means 0600 */
    uint64_t size;        /* of a new store: limit of memory in use, index included, in bytes;
                            0 means half of the machine's memory; memory is taken as needed */
    uint64_t reserve;     /* of a new store: expected number of keys; the index is made for them
                            at once instead of growing; 0 means that it is not known */
    uint64_t interval_ms; /* this process makes a checkpoint so often if there is something to
                             write; 0: as often as the store says, see shmkv_set_interval();
                             UINT64_MAX: only when asked, not even at close */
    const char *shm_dir;  /* directory of the shared-memory objects, a tmpfs; NULL: /dev/shm */
};

/**
 * shmkv_open() - open a store, making it first if asked to.
 * @name:  the path of the store's image, or "shm:NAME" for a volatile store, which has none; NAME
 *         is 1..200 of [A-Za-z0-9._-] and does not end in ".sync".
 * @opt:   NULL for all defaults: open an existing store for reading and writing.
 * @db:    receives the handle; set to NULL on error.
 * Opening one store twice in a process gives two handles on one mapping.
 * With SHMKV_READONLY a store that is not in memory (after a reboot, say) is loaded into memory of
 * this handle's own, and the image is not written to: such a handle shows what the image held when
 * it was opened, for good, whatever others write later.  SHMKV_LIVE has SHMKV_ENOSTORE instead.
 * Blocks:  at most 10 s on a process that is creating the store right now; while the image is
 *          loaded, if its store is not in memory (after a reboot, say); while another thread of
 *          this process opens or closes the same store, but no other one.
 * Return:  0, or SHMKV_ENOSTORE, SHMKV_ESTOREEXISTS, SHMKV_EACCESS, SHMKV_EFORMAT,
 *          SHMKV_EVERSION, SHMKV_EDEFUNCT, SHMKV_ENOSPC, SHMKV_ETIMEOUT, SHMKV_EINVAL,
 *          SHMKV_ELIMIT, SHMKV_ECORRUPT (the image), SHMKV_EIO, SHMKV_EREADONLY (its file system),
 *          SHMKV_ENOTSUP (a file system that cannot keep what is synced; a cache with an image),
 *          SHMKV_ESYSTEM.
 */
SHMKV_API int shmkv_open(const char *name, const struct shmkv_options *opt, struct shmkv **db);

/**
 * shmkv_close() - close a handle.
 * @db:  a handle; NULL does nothing.  No other thread may be inside a call on it, and every
 *       section and reservation of this handle must have ended.
 * The last process to close a store with an image writes what is not in it yet; if that fails the
 * handle is closed all the same, what was put stays in shared memory, and the error is returned:
 * as of shmkv_sync(), SHMKV_EDEFUNCT if the image was removed, moved or replaced meanwhile.
 * Later calls on the handle return SHMKV_ECLOSED, as long as it is among the last 64 that the
 * process has closed; after that its memory is reused, and a call on it is undefined.
 * Return:  0, SHMKV_ECLOSED, the error of the last checkpoint, or SHMKV_EBUSY (called by the
 *          function of shmkv_set_warning(); the handle is not closed).
 */
SHMKV_API int shmkv_close(struct shmkv *db);

/* The library's version, "major.minor.patch"; static storage. */
SHMKV_API const char *shmkv_version(void);

/* A short text for @rc, static storage; never NULL. */
SHMKV_API const char *shmkv_strerror(int rc);

/**
 * shmkv_last_error() - the whole story of the calling thread's last failed call.
 * Return:  text that stays valid until this thread's next failing call; "" if none failed.
 */
SHMKV_API const char *shmkv_last_error(void);

/* ---- read ---------------------------------------------------------------------------------- */

/* A run of bytes; used for keys and values in batches. */
struct shmkv_bytes {
    const void *data;
    size_t size;
};

/* What a zero-copy read finds.  @value points into the store. */
struct shmkv_item {
    const void *value;
    size_t size;
    uint64_t version;   /* token for shmkv_cas(); never 0 */
    int64_t expires_ms; /* by shmkv_get_clock(); 0: never */
};

/* A read section.  Members are private; the struct lives on the caller's stack. */
struct shmkv_section {
    void *context;
    uint64_t outer;
};

/**
 * shmkv_begin() - begin a read section of the calling thread.
 * Until shmkv_end() everything read stays where it is and as it is, whatever others write.
 * Costs no system call (but the first one of a thread registers it).  Nests; sections of one
 * thread end in reverse order.  A section that is kept open holds memory back, nothing else.
 * Return:  0, SHMKV_ECLOSED, SHMKV_ELIMIT (no participant entry left).
 */
SHMKV_API int shmkv_begin(struct shmkv *db, struct shmkv_section *section);

/* End a section.  In a child forked inside the section: does nothing to the parent's. */
SHMKV_API void shmkv_end(struct shmkv_section *section);

/**
 * shmkv_get() - find a key without copying.
 * @section:  open section; the result is valid until it ends.
 * @item:     receives pointer, size, version and expiry; untouched on error.
 * Costs:     no system call, no lock, no store.
 * Return:    0, SHMKV_ENOTFOUND (absent or expired), SHMKV_EKEY, SHMKV_ECORRUPT, SHMKV_EINVAL
 *            (the section is not open, or was begun before a fork).
 */
SHMKV_API int shmkv_get(const struct shmkv_section *section, const void *key, size_t klen,
                        struct shmkv_item *item);

/**
 * shmkv_get_many() - find @n keys; overlaps their cache misses.
 * @items:  @n results; one that is absent has @value NULL and @version 0.
 * Return:  the number found (0..@n), or SHMKV_EKEY, SHMKV_EINVAL, SHMKV_ECORRUPT.
 */
SHMKV_API int shmkv_get_many(const struct shmkv_section *section, const struct shmkv_bytes *keys,
                             size_t n, struct shmkv_item *items);

/**
 * shmkv_read() - copy a value out.
 * @buf:   receives the first min(value size, @cap) bytes; NULL only if @cap is 0.
 * @item:  may be NULL; else receives size, version, expiry; @value is set to @buf.
 * Return: 0, SHMKV_EBUFFER (value larger than @cap; @item->size tells), SHMKV_ENOTFOUND,
 *         SHMKV_EKEY, SHMKV_ECLOSED, SHMKV_ECORRUPT.
 */
SHMKV_API int shmkv_read(struct shmkv *db, const void *key, size_t klen, void *buf, size_t cap,
                         struct shmkv_item *item);

/* 0 if the key is there, SHMKV_ENOTFOUND if not, or another error as of shmkv_read(). */
SHMKV_API int shmkv_exists(struct shmkv *db, const void *key, size_t klen);

/**
 * shmkv_get_clock() - the store's clock, by which keys expire.
 * @now_ms:  receives milliseconds: Unix time when the store came into memory, and going on evenly
 *           since.  It does not follow steps of the wall clock, so the time that a key has left is
 *           the difference of its @expires_ms and this, not that and time(2).
 * Return:   0, SHMKV_ECLOSED, SHMKV_ELIMIT, SHMKV_EINVAL (@now_ms is NULL).
 */
SHMKV_API int shmkv_get_clock(struct shmkv *db, int64_t *now_ms);

/* An explicit reader, for coroutines and languages whose tasks move between threads. */
struct shmkv_reader;

/* Make a reader of @db; it must be closed before the handle.  SHMKV_ELIMIT, SHMKV_ECLOSED. */
SHMKV_API int shmkv_reader_open(struct shmkv *db, struct shmkv_reader **reader);
/* As shmkv_begin(), but the section belongs to @reader, used by one thread at a time. */
SHMKV_API int shmkv_reader_begin(struct shmkv_reader *reader, struct shmkv_section *section);
/* NULL does nothing. */
SHMKV_API void shmkv_reader_close(struct shmkv_reader *reader);

/* ---- write --------------------------------------------------------------------------------- */

enum shmkv_put_flag {
    SHMKV_IF_ABSENT = 1u << 0,  /* else SHMKV_EEXISTS */
    SHMKV_IF_PRESENT = 1u << 1, /* else SHMKV_ENOTFOUND */
    SHMKV_KEEP_TTL = 1u << 2,   /* the new value expires when the old one would have */
    SHMKV_DURABLE = 1u << 3,    /* return when it is durable, as by shmkv_sync() */
};

/* How to write.  Zero is a good value for every member. */
struct shmkv_put_options {
    uint32_t flags;    /* enum shmkv_put_flag, or'ed */
    uint64_t ttl_ms;   /* expires so long after the call; 0: never (but see SHMKV_KEEP_TTL) */
    uint64_t *version; /* may be NULL; receives the version that was written */
};

/**
 * shmkv_put() - store a value, replacing any older one.
 * @db:     open handle; any thread.
 * @key:    @klen bytes, 1..SHMKV_KEY_MAX; copied.
 * @val:    @vlen bytes; copied; NULL only if @vlen is 0.  Key and value may be as large as a
 *          quarter of the store, less 32 bytes.
 * @opt:    NULL for none; condition, ttl, where to put the new version.
 * Visible: atomically, to every process, before return.
 * Durable: against the death of any process at once; against power loss, in a store with an image,
 *          with the next checkpoint, or before return with SHMKV_DURABLE (an error of that comes
 *          after the value is stored and visible: SHMKV_EIO, SHMKV_ENOSPC of the disk, or another
 *          as of shmkv_sync(); but SHMKV_ENOTSUP of a volatile store before).
 * Blocks:  never on another process (but for SHMKV_DURABLE); at most 100 ms for room in a full
 *          store, a value of many segments longer as long as cleaning gains room, and not at all
 *          inside the caller's own read section.  If killed inside: the old or the new value.
 * Return:  0, or SHMKV_EKEY, SHMKV_ETOOBIG, SHMKV_ENOSPC, SHMKV_EHELD, SHMKV_EEXISTS,
 *          SHMKV_ENOTFOUND, SHMKV_EREADONLY, SHMKV_ECLOSED, SHMKV_EBUSY, SHMKV_EINVAL,
 *          SHMKV_EDEFUNCT, SHMKV_ECORRUPT, SHMKV_ENOTSUP (SHMKV_DURABLE in a volatile store),
 *          SHMKV_ESYSTEM, SHMKV_ELIMIT; nothing changed then.
 */
SHMKV_API int shmkv_put(struct shmkv *db, const void *key, size_t klen, const void *val,
                        size_t vlen, const struct shmkv_put_options *opt);

/**
 * shmkv_delete() - remove a key.
 * Works on a full store too.  Return: 0, SHMKV_ENOTFOUND, or as shmkv_put().
 */
SHMKV_API int shmkv_delete(struct shmkv *db, const void *key, size_t klen);

/**
 * shmkv_cas() - store a value if the key still has the version @expected.
 * @expected:  a version from a read; 0 means "absent".
 * @opt:       as of shmkv_put(); of the flags SHMKV_DURABLE only.
 * Return:     0, SHMKV_EMISMATCH (changed, absent or expired in between), or as shmkv_put().
 */
SHMKV_API int shmkv_cas(struct shmkv *db, const void *key, size_t klen, uint64_t expected,
                        const void *val, size_t vlen, const struct shmkv_put_options *opt);

/**
 * shmkv_add() - add to a 64-bit counter kept as decimal ASCII.
 * An absent key counts as 0; an expiry is kept.  @result may be NULL.
 * Return:  0, SHMKV_ENOTNUM, SHMKV_EOVERFLOW, or as shmkv_put().
 */
SHMKV_API int shmkv_add(struct shmkv *db, const void *key, size_t klen, int64_t delta,
                        int64_t *result);

/* Append bytes to a value (an absent key counts as empty); an expiry is kept.  @total, if not
 * NULL, receives the new size.  Copies the whole value.  Errors as shmkv_put(). */
SHMKV_API int shmkv_append(struct shmkv *db, const void *key, size_t klen, const void *val,
                           size_t vlen, size_t *total);

/* Set the time to live of a key, from now; 0 makes it permanent.  Copies the whole value.
 * SHMKV_ENOTFOUND, or as shmkv_put(). */
SHMKV_API int shmkv_touch(struct shmkv *db, const void *key, size_t klen, uint64_t ttl_ms);

/* What an update callback decides. */
enum shmkv_update_action { SHMKV_KEEP = 0, SHMKV_STORE = 1, SHMKV_REMOVE = 2 };

/**
 * typedef shmkv_update_fn - computes a key's new value from its old one.
 * @old:    NULL if absent; valid during the callback only.
 * @value:  to be set for SHMKV_STORE; must stay valid until shmkv_update() returns or the next
 *          call of the callback, so it must not point into @old.
 * May run several times (someone else changed the key), inside a read section; must not write
 * to the store.  Returns an enum shmkv_update_action, or a negative code that ends the update.
 */
typedef int shmkv_update_fn(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value);

/* Replace a key's value by a function of it, atomically.  An expiry is kept.  Returns what the
 * callback returned if negative, else as shmkv_put(). */
SHMKV_API int shmkv_update(struct shmkv *db, const void *key, size_t klen, shmkv_update_fn *fn,
                           void *arg);

/**
 * shmkv_take() - get and delete, atomically: of several takers one gets the value.
 * If the value is larger than @cap nothing is removed and SHMKV_EBUFFER tells its size in @size.
 */
SHMKV_API int shmkv_take(struct shmkv *db, const void *key, size_t klen, void *buf, size_t cap,
                         size_t *size);

/* A value being filled in place.  @value is the caller's to fill; the rest is private. */
struct shmkv_reservation {
    void *value; /* @vlen writable bytes in the store, 8-aligned */
    void *context;
    uint64_t offset;
    uint64_t hash;
    struct shmkv_put_options options;
};

/**
 * shmkv_reserve() - room for a value that the caller then fills in place.
 * One reservation per thread and store at a time.  Other writes of the thread go on meanwhile.
 * @opt:    copied; what its @version points to must stay until shmkv_commit(), which writes it; of
 *          the flags SHMKV_IF_ABSENT and SHMKV_IF_PRESENT only.
 * Invisible until shmkv_commit().  If killed before: no trace.
 * Return:  0, SHMKV_EBUSY (this thread has one open already; or as shmkv_put()), or as shmkv_put().
 */
SHMKV_API int shmkv_reserve(struct shmkv *db, const void *key, size_t klen, size_t vlen,
                            const struct shmkv_put_options *opt, struct shmkv_reservation *r);
/* Publish it; conditions are tested now.  Ends the reservation, also on an error (as shmkv_put()),
 * but for SHMKV_EBUSY: that comes from a signal handler that interrupted a write, nothing has
 * changed, and the reservation may be committed or cancelled when the write has ended. */
SHMKV_API int shmkv_commit(struct shmkv_reservation *r);
/* Give the room back.  In a signal handler that interrupted a write it does nothing. */
SHMKV_API void shmkv_cancel(struct shmkv_reservation *r);

/**
 * shmkv_put_many() - store @n pairs, each atomically, in order; overlaps their cache misses.
 * @done:   may be NULL; receives how many were stored.
 * Return:  0, or the first error as shmkv_put(); pairs before it are stored, and with SHMKV_DURABLE
 *          durable, unless it is the error of the wait for that.
 */
SHMKV_API int shmkv_put_many(struct shmkv *db, const struct shmkv_bytes *keys,
                             const struct shmkv_bytes *values, size_t n,
                             const struct shmkv_put_options *opt, size_t *done);

/* Remove @n keys; absent ones are passed over.  @removed may be NULL.  Errors as shmkv_put(). */
SHMKV_API int shmkv_delete_many(struct shmkv *db, const struct shmkv_bytes *keys, size_t n,
                                size_t *removed);

/* ---- walk ---------------------------------------------------------------------------------- */

/* One pair during a scan; pointers are valid during the callback only. */
struct shmkv_pair {
    const void *key;
    size_t klen;
    struct shmkv_item item;
};

/* Called for each pair; non-zero stops the scan, which then returns that value. */
typedef int shmkv_scan_fn(void *arg, const struct shmkv_pair *pair);

/* What to scan.  Zero is a good value for every member. */
struct shmkv_scan_options {
    const void *prefix; /* only keys that begin with these @prefix_len bytes */
    size_t prefix_len;
    const char *match; /* only keys that match this glob: * ? [a-z] [!a] \x */
    size_t limit;      /* return about that many pairs per call; 0: scan to the end */
};

/**
 * shmkv_scan() - walk the store in hash order.
 * @cursor:  0 to start; on return where to go on, 0 at the end.  It is all there is of state: it
 *           may be kept, sent elsewhere, and used in another process.
 * A key present from the first call to the last is returned exactly once, whatever else is
 * written and however the index is resized; one that comes or goes meanwhile at most once per
 * life.  A call may exceed @limit by the keys of one bucket.  If @fn stops the scan, @cursor
 * leads to the bucket of that pair again.
 * Return:   0, what @fn returned, SHMKV_EINVAL (@fn is NULL; @match is no glob: a [ without its ],
 *           a \ at the end), SHMKV_ECLOSED, SHMKV_ECORRUPT.
 */
SHMKV_API int shmkv_scan(struct shmkv *db, uint64_t *cursor, const struct shmkv_scan_options *opt,
                         shmkv_scan_fn *fn, void *arg);

/* Number of keys, counted by a walk; expired ones are not counted. */
SHMKV_API int shmkv_count(struct shmkv *db, uint64_t *count);

/* Remove every key.  Keys put meanwhile may stay. */
SHMKV_API int shmkv_clear(struct shmkv *db);

/* ---- wait ---------------------------------------------------------------------------------- */

/**
 * shmkv_wait() - sleep until a key's version differs from @seen.
 * @seen:        version known to the caller; 0: absent.
 * @timeout_ms:  negative: no limit.
 * Costs writers nothing while nobody waits.  Expiry alone wakes nobody.
 * Return:       0 (it differs now), SHMKV_ETIMEOUT, SHMKV_EKEY, SHMKV_ECLOSED, SHMKV_EINVAL (in
 *               the caller's own read section: it would hold memory back), SHMKV_EDEFUNCT (the
 *               store was removed, before or meanwhile).
 */
SHMKV_API int shmkv_wait(struct shmkv *db, const void *key, size_t klen, uint64_t seen,
                         int64_t timeout_ms);

/**
 * shmkv_wait_any() - sleep until anything was written.
 * @ticket:  in: what the last call left; or 0, the first time: then it returns 0 at once, as what
 *           the caller has read until then may be old.  Out: for the next call.  Nothing written
 *           between two calls is missed.
 * Return:   as shmkv_wait().
 */
SHMKV_API int shmkv_wait_any(struct shmkv *db, uint64_t *ticket, int64_t timeout_ms);

/* ---- care ---------------------------------------------------------------------------------- */

/* Every statistic: name, and what it counts.  The first group counts events since creation. */
#define SHMKV_STATS(X)                                                                             \
    X(gets, "reads of a key")                                                                      \
    X(hits, "reads that found it")                                                                 \
    X(puts, "values stored")                                                                       \
    X(deletes, "keys removed")                                                                     \
    X(bytes_put, "bytes of records written by users")                                              \
    X(relocations, "records moved by the cleaner")                                                 \
    X(bytes_relocated, "bytes of records moved by the cleaner")                                    \
    X(segments_cleaned, "segments freed by the cleaner")                                           \
    X(cleaning_ns, "processor time of the cleaner, nanoseconds")                                   \
    X(resizes, "index resizes finished")                                                           \
    X(slots_moved, "index slots moved by resizes")                                                 \
    X(retries, "publications that had to be tried again")                                          \
    X(stalls, "writes that had to wait for room")                                                  \
    X(wakes, "futex wake-ups sent")                                                                \
    X(reaped, "dead processes cleaned up after")                                                   \
    X(graces, "grace periods completed")                                                           \
    X(evictions, "keys evicted from a cache")

/* A snapshot of counters and sizes; bytes unless named otherwise. */
struct shmkv_stats {
#define SHMKV_STAT_MEMBER(name, text) uint64_t name;
    SHMKV_STATS(SHMKV_STAT_MEMBER)
#undef SHMKV_STAT_MEMBER
    uint64_t keys;        /* best effort: keys added less keys removed, expired included */
    uint64_t tombstones;  /* best effort */
    uint64_t size;        /* limit of memory in use */
    uint64_t memory;      /* in use: segments, index, tables */
    uint64_t index_bytes; /* of it: index areas in use */
    uint64_t table_bytes; /* of it: fixed tables */
    uint64_t log_bytes;   /* of it: segments */
    uint64_t live_bytes;  /* best effort: records that are current */
    uint64_t segment_size;
    uint64_t segments;       /* number of segments that have memory */
    uint64_t segments_free;  /* of them: free */
    uint64_t segments_limbo; /* of them: waiting for a grace period */
    uint64_t slots;          /* capacity of the index */
    uint64_t tickets;        /* inserts left before the next resize */
    uint64_t epoch;
    uint64_t processes;    /* attached */
    uint64_t participants; /* threads and readers registered */
};

/* Costs readers and writers nothing.  SHMKV_ECLOSED, SHMKV_EINVAL. */
SHMKV_API int shmkv_get_stats(struct shmkv *db, struct shmkv_stats *stats);

/* One attached participant. */
struct shmkv_participant {
    int64_t pid;         /* as seen by that process */
    char name[16];       /* of that process */
    uint64_t reading;    /* epoch of its read section; 0: in none */
    uint64_t writing;    /* epoch of its write; 0: in none */
    uint64_t bytes_held; /* memory that cannot be freed before it goes on */
    uint64_t operations; /* reads and writes so far */
    int64_t thread;      /* number of the thread that registered, as gettid(2) gives it there */
    uint64_t age_ms;     /* so long it has been seen in this section, at least; 0: not for long */
};

/* Calls @fn for each participant; non-zero stops and is returned. */
SHMKV_API int shmkv_readers(struct shmkv *db,
                            int (*fn)(void *arg, const struct shmkv_participant *p), void *arg);

/* What shmkv_set_warning() tells; valid during the call. */
struct shmkv_warning {
    int code;         /* SHMKV_EHELD: a section holds memory back; there may be others one day */
    int refused;      /* 1: a write of this process found no room because of it */
    const char *text; /* the whole story in one line, without a newline */
    const struct shmkv_participant *who; /* whose section it is */
};
typedef void shmkv_warning_fn(void *arg, const struct shmkv_warning *warning);

/**
 * shmkv_set_warning() - be told when a section that stands holds memory back.
 * @fn:   called by the housekeeping thread of this process, if it runs (see shmkv_open()), once a
 *        section has stood for a second with a 16th of the store held back; and by a write that
 *        fails with SHMKV_EHELD, in its thread, just before it returns.  Of one section at most
 *        every ten seconds by either.  NULL: nobody is told any more.
 * One function for each store of a process: it replaces one that was set through another handle,
 * and ends with the handle.
 * Threads: @fn runs in one thread at a time, outside of the library's locks and sections.  It may
 *          use the store, but not close it; it should be short, since housekeeping waits for it.
 * Blocks:  until a call of the function before it has returned; it does not run afterwards.
 * Return:  0, SHMKV_EBUSY (called by @fn itself), SHMKV_ECLOSED, SHMKV_ELIMIT.
 */
SHMKV_API int shmkv_set_warning(struct shmkv *db, shmkv_warning_fn *fn, void *arg);

/* Who keeps house for a store: cleans ahead of need, reaps the dead, writes checkpoints. */
struct shmkv_keeper {
    int64_t pid;   /* as seen by that process; 0: nobody */
    char name[16]; /* of that process */
    int mine;      /* 1: it is this process */
    /* Of a store with an image, since it is in memory: */
    uint64_t checkpoints;   /* that succeeded, whoever made them */
    uint64_t failures;      /* that failed */
    int failing;            /* 1: none has succeeded since the last failure */
    uint64_t checkpoint_ms; /* how long the last one took */
    int error;              /* the code of the last failure, 0 if none */
    char error_text[160];   /* and its text */
    /* If it was loaded from its image when this process opened it: */
    uint64_t recovered;    /* records that were read */
    uint64_t recovered_ms; /* how long that took */
};

/**
 * shmkv_get_keeper() - who keeps house, if anybody does at this moment.
 * Return:  0, SHMKV_EDEFUNCT (the store was removed, or its image removed, moved or replaced; close
 *          it), SHMKV_ECLOSED, SHMKV_EINVAL.
 */
SHMKV_API int shmkv_get_keeper(struct shmkv *db, struct shmkv_keeper *keeper);

/* The settings of a store.  What is pointed to is valid until the handle is closed. */
struct shmkv_config {
    uint64_t size;         /* limit of memory in use, bytes */
    uint64_t size_most;    /* the largest that shmkv_set_size() takes */
    uint64_t segment_size; /* bytes; fixed, as all that follows */
    int cache;             /* 1: it evicts keys rather than be full */
    const char *image;     /* path of its image; NULL: it is volatile */
    const char *memory;    /* path of its shared memory; there is PATH.sync beside it */
    uint64_t interval_ms;  /* between two checkpoints; 0: it is volatile; may be changed */
};

/* SHMKV_ECLOSED, SHMKV_ELIMIT. */
SHMKV_API int shmkv_get_config(struct shmkv *db, struct shmkv_config *config);

/**
 * shmkv_set_size() - change the limit of memory in use, while the store is in use.
 * @size:    at most @size_most of shmkv_get_config(), which is about three times the size the store
 *           was made with; and what is in use must fit, with some room for cleaning.
 * Visible:  to every process, at once.
 * Durable:  in a store with an image, with the next checkpoint.
 * Blocks:   to make it smaller it cleans first, as shmkv_compact().  If killed inside: the old or
 *           the new size, even if that turns out too small: nothing is lost, but set it again.
 * Return:   0, or SHMKV_EINVAL (out of range), SHMKV_ENOSPC (too much is in use), SHMKV_EREADONLY,
 *           SHMKV_ECLOSED, SHMKV_EBUSY, SHMKV_EDEFUNCT, SHMKV_ELIMIT; nothing changed then.
 */
SHMKV_API int shmkv_set_size(struct shmkv *db, uint64_t size);

/**
 * shmkv_set_interval() - change how often checkpoints are made, while the store is in use.
 * @interval_ms:  1 ms to 366 days; 0: as at first, every second.
 * It holds for every process that has not asked for another one in struct shmkv_options.
 * Visible:  to every process, at once; who keeps house looks each 100 ms.
 * Durable:  with the next checkpoint.
 * Return:   0, or SHMKV_EINVAL (out of range), SHMKV_ENOTSUP (a volatile store), SHMKV_EREADONLY,
 *           SHMKV_ECLOSED, SHMKV_EDEFUNCT, SHMKV_ELIMIT; nothing changed then.
 */
SHMKV_API int shmkv_set_interval(struct shmkv *db, uint64_t interval_ms);

/* Clean until nothing is gained any more; finish a running resize; give free memory back. */
SHMKV_API int shmkv_compact(struct shmkv *db);

/**
 * shmkv_check() - verify every checksum and invariant.
 * @report:  may be NULL; receives a line per finding.  One that begins with "note: " is no damage
 *           and does not count: a figure that steers policy is off, as a death may leave it.
 * Safe beside readers and writers; figures that only hold at rest are then not checked.
 * Return:   0, SHMKV_ECORRUPT (something was found), SHMKV_ECLOSED.
 */
SHMKV_API int shmkv_check(struct shmkv *db, void (*report)(void *arg, const char *line), void *arg);

/* ---- durability ---------------------------------------------------------------------------- */

/*
 * A store with an image is written to it by checkpoints; a volatile one, "shm:NAME", has none, and
 * every call below then returns SHMKV_ENOTSUP or SHMKV_EINVAL and changes nothing.
 */

/**
 * shmkv_sync() - wait until everything that was written before the call is durable.
 * @timeout_ms:  negative: no limit.
 * Calls of several threads and processes share one checkpoint.
 * Return:  0: it survives a power loss.  SHMKV_ETIMEOUT (the text names who keeps house and does
 *          not get on), SHMKV_ENOSPC (the disk is full: the older checkpoint stands), SHMKV_EIO
 *          (what is durable is what was before; a later success does not take this back),
 *          SHMKV_EDEFUNCT (the store was destroyed; or its image was removed or replaced, or moved
 *          while nobody had it open to write it: shmkv_backup() still saves what is in memory),
 *          SHMKV_ECORRUPT (the image, or what was to be written), SHMKV_EREADONLY (the handle, or
 *          the file system), SHMKV_EINVAL (in the caller's own section), SHMKV_EBUSY,
 *          SHMKV_EACCESS, SHMKV_ENOSTORE, SHMKV_EFORMAT, SHMKV_EVERSION, SHMKV_ENOTSUP,
 *          SHMKV_ECLOSED, SHMKV_ELIMIT, SHMKV_ESYSTEM.
 */
SHMKV_API int shmkv_sync(struct shmkv *db, int64_t timeout_ms);

/* Have a checkpoint of all that was written, as shmkv_sync() without a limit; nothing is written if
 * the last one holds it all.  Errors as shmkv_sync(). */
SHMKV_API int shmkv_checkpoint(struct shmkv *db);

/**
 * shmkv_backup() - a consistent copy of the store as an image of its own, while it is written to.
 * @path:   must not exist.  The copy is written to PATH.XXXXXX, with six random characters, and
 *          renamed when it is whole; on an error that is removed.
 * Return:  0: it is durable, and was verified; SHMKV_ESTOREEXISTS, SHMKV_EACCESS, SHMKV_ENOSTORE
 *          (no such directory), SHMKV_EINVAL (@path is NULL, or "shm:..."), or as shmkv_sync().
 */
SHMKV_API int shmkv_backup(struct shmkv *db, const char *path);

/**
 * shmkv_check_image() - verify an image without opening the store.
 * @path:    of the image, which is not changed.
 * @report:  as in shmkv_check(); one copy of what an image holds twice is a note.
 * Return:   0, SHMKV_ECORRUPT (something was found), SHMKV_ENOSTORE, SHMKV_EFORMAT, SHMKV_EVERSION,
 *           SHMKV_EACCESS, SHMKV_EIO, SHMKV_EINVAL (a volatile store), SHMKV_ENOTSUP,
 *           SHMKV_ESYSTEM.
 */
SHMKV_API int shmkv_check_image(const char *path, void (*report)(void *arg, const char *line),
                                void *arg);

/**
 * shmkv_repair() - save what can be saved of a damaged image into a new one.
 * @path:    of the damaged image, which is not changed; nobody may have it open.
 * @out:     of the new one; must not exist.  Written as a backup is: it has its name when it is
 *           whole.
 * @report:  may be NULL; receives a line for each thing that was lost, and a last one with sums.
 * Return:   0: every record that validates is in @out; else as shmkv_check_image() and
 *           shmkv_backup().
 */
SHMKV_API int shmkv_repair(const char *path, const char *out,
                           void (*report)(void *arg, const char *line), void *arg);

/* ---- all stores of a machine --------------------------------------------------------------- */

/* Remove a store by name, and its image if it has one; if @name was the path of an image that was
 * removed, what is left of it in memory.  SHMKV_EINUSE if a process is attached, unless @force:
 * those then get SHMKV_EDEFUNCT from their next write.  @shm_dir as in struct shmkv_options. */
SHMKV_API int shmkv_destroy(const char *name, const char *shm_dir, int force);

/* What shmkv_list() tells of a store. */
struct shmkv_store_info {
    const char *name;   /* "shm:NAME"; of a store with an image, what its memory is called */
    uint64_t size;      /* limit */
    uint64_t allocated; /* memory taken now, as the file system counts it */
    uint64_t processes; /* attached */
    int state;          /* 0 usable, or a negative SHMKV_E... code that opening would give */
    const char *image;  /* path of its image when it was opened; NULL: none, or not known */
    int image_state;    /* 0: it is there; SHMKV_ENOSTORE: it was removed, moved or replaced;
                           SHMKV_EACCESS: it cannot be seen (its disk is not mounted now, say) */
};

/* Calls @fn for each store in @shm_dir (NULL: /dev/shm); non-zero stops and is returned. */
SHMKV_API int shmkv_list(const char *shm_dir,
                         int (*fn)(void *arg, const struct shmkv_store_info *info), void *arg);

/**
 * shmkv_gc() - remove from @shm_dir (NULL: /dev/shm) what nobody uses nor will use.
 * @removed:  may be NULL; receives how many stores it was the rest of.
 * That is what dead processes left, half-made stores and orphaned objects; and the memory of stores
 * whose image was removed, moved or replaced, to which nobody is attached, and of which everything
 * was in the image: so nothing is lost even if the image has only been moved.  Memory that holds
 * more, because its processes were killed, stays for shmkv_destroy().
 * Return:    0, or the code of what went wrong.
 */
SHMKV_API int shmkv_gc(const char *shm_dir, size_t *removed);

#ifdef __cplusplus
}
#endif
#endif
