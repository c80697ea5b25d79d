/* SPDX-License-Identifier: MIT */
/* arena_parts.h - what the arena_*.c files share; nobody else includes it. */
#ifndef SHMKV_ARENA_PARTS_H
#define SHMKV_ARENA_PARTS_H

#include "arena.h"
#include "lockpage.h"

#include <sys/stat.h>
#include <sys/types.h>

#define ARENA_FEATURES ((uint32_t)STORE_CACHE) /* superblock.features that this version knows */
#define ARENA_PARTICIPANTS 64u                 /* entries that have memory from the start */
#define ARENA_LOCK_SECONDS 10u
#define ARENA_SEGMENTS_OFFSET (2u * PAGE_BYTES) /* of the descriptors in the arena */
#define ARENA_SEGMENT_ENTRY (sizeof(struct segment) + sizeof(dead_bytes)) /* in two arrays */

/* Not now, try again; a result inside arena*.c. */
#define ARENA_AGAIN SHMKV_EBUSY

/* How objects are opened: no symbolic links, and no waiting for the other end of a pipe. */
#define ARENA_OPEN_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

/* ---- arena_name.c: names, paths, objects --------------------------------------------------- */

#define ARENA_DIRECTORY "/dev/shm"
#define ARENA_PREFIX "shmkv."
#define ARENA_SYNC_SUFFIX ".sync"

/* The tmpfs @shm_dir (NULL: /dev/shm) as an absolute path of at most @size bytes. */
int arena_name_directory(const char *shm_dir, char *dir, size_t size);
/* Check "shm:NAME" and set name, path and sync_path of @a, whose other members become "none". */
int arena_name_set(struct arena *a, const char *name, const char *shm_dir);
/* The same for the store of an image; @name is its path. */
int arena_name_set_image(struct arena *a, const char *name, const char *shm_dir,
                         const struct arena_image *image);
void arena_name_free(struct arena *a);
/* Is it the memory of an image, asked for by that? */
bool arena_name_imaged(const struct arena *a);
bool arena_name_valid(const char *name, size_t length);
/* SHMKV_EACCESS with a text that names the owner and mode of @path, and us. */
int arena_name_denied(const struct arena *a, const char *path);
/* The error for errno after opening, making or removing @path. */
int arena_name_error(const struct arena *a, const char *doing, const char *path);
/* SHMKV_ENOSPC: the tmpfs of @path, an object of @a, is full. */
int arena_name_full(const struct arena *a, const char *path);
/* Is the file under @path the one with this device and inode? */
bool arena_name_is(const char *path, uint64_t device, uint64_t inode);
/* A descriptor of object @path that is certainly that file, or -1.  Close it if it is not @fd. */
int arena_name_fd(int fd, const char *path, uint64_t device, uint64_t inode);
struct lockpage_file arena_name_sync(const struct arena *a);

/* ---- arena_look.c: what stands under a name ------------------------------------------------- */

/* What opening a store would find; see arena_look(). */
struct arena_look {
    int rc;        /* 0: a usable store; else what opening it gives, the error text is set */
    bool leftover; /* nothing that anybody uses or will use: may be removed and made anew */
    bool fresh;    /* the leftover is a new, empty sync object: a store may be made right here */
    bool attached; /* somebody holds LOCK_ATTACHED */
    bool arena_there, sync_there;
    bool arena_blank, sync_blank; /* its head was never finished */
    struct stat arena, sync;
    struct superblock sb;
    struct sync_header header;
};

/*
 * arena_look() - judge what is under the names of @a.  Changes nothing.  Certain only under
 * LOCK_CREATE; without it a hint that may be outdated or see a store half made.
 * @creating:  root then trusts nobody else's objects, see arena_look.c.
 */
void arena_look(const struct arena *a, bool creating, struct arena_look *look);
/* Remove both objects; those attached find the store defunct.  The caller holds LOCK_CREATE
 * exclusively, or there is no sync object. */
int arena_look_remove(const struct arena *a);
/* The id of this boot; all 0 where it cannot be read. */
void arena_look_boot_id(uint8_t id[16]);

/* ---- arena_huge.c: huge pages --------------------------------------------------------------- */

/* A hint: let the 2 MiB at @unit, which may have no memory yet, be one huge page.  What memory it
 * has afterwards is to be found out.  0; SHMKV_EBUSY: not this one, or another time, SHMKV_ENOSPC:
 * none for now (both without a text). */
int arena_huge_prepare(char *unit);

/* ---- arena_geometry.c: sizes and mappings --------------------------------------------------- */

/* Check @size, or choose it if 0. */
int arena_geometry_size(const char *name, uint64_t *size);
/* The address range wanted for a store of @size, and the least that will do. */
uint64_t arena_geometry_reserve(uint64_t size);
uint64_t arena_geometry_reserve_min(uint64_t size);
/* The size that a store with the segments of @sb was made with, as far as they tell; 0: none are
 * chosen yet.  Where the limit was lowered since, the address range must still hold them all. */
uint64_t arena_geometry_made_for(const struct superblock *sb);
/* Fill the geometry of @sb for a store of @size in an address range of @reserve bytes; if @sb has
 * a segment_bytes and segment_count already, these stay (see arena_geometry_valid()). */
void arena_geometry_choose(struct superblock *sb, uint64_t size, uint64_t reserve);
bool arena_geometry_valid(const struct superblock *sb);
/* Map @length bytes of @fd at a 2 MiB boundary; NULL with errno set. */
void *arena_geometry_map(int fd, uint64_t length, int prot);
/* Map both objects, open in @a, and set the pointers; @sb holds the geometry. */
int arena_geometry_attach(struct arena *a, const struct superblock *sb);
/* The error for errno after mapping @bytes failed. */
int arena_geometry_refused(const struct arena *a, uint64_t bytes);

/* ---- arena_image.c: the image that an arena belongs to --------------------------------------- */

/* What stands where the image was. */
enum arena_image_state {
    ARENA_IMAGE_THERE,  /* it; or it is not known where it was, or there is none */
    ARENA_IMAGE_GONE,   /* nothing, or another file */
    ARENA_IMAGE_UNSEEN, /* that cannot be told: the file system may not be mounted, say */
};

/* Path of the image, @path with room for IMAGE_PATH_BYTES; false: none is known. */
bool arena_image_path(const struct superblock *sb, char *path);
enum arena_image_state arena_image_state(const struct superblock *sb, const char *path);
/* Nobody is attached: was everything in this memory in the image, too? */
bool arena_image_settled(const struct arena *a, const struct arena_look *look);

/* ---- arena_create.c: make a store ----------------------------------------------------------- */

/* Make the sync object and open it in @a.  ARENA_AGAIN: somebody else was faster. */
int arena_create_sync(struct arena *a, const struct arena_options *opt);
/* Make the arena and fill in both; the caller holds LOCK_CREATE exclusively, nothing else is
 * there but the fresh sync object. */
int arena_create(struct arena *a, const struct arena_options *opt);

/* ---- arena_limits.c: how much memory the machine has left ----------------------------------- */

/* Memory of the machine, or of our cgroup if that has less. */
uint64_t arena_limits_total(void);
/* Is there so much to spare that @bytes, which are in use by whomever, may become ours?  A cgroup
 * has its own share of what its processes took first. */
bool arena_limits_spare(uint64_t bytes);
/* May @bytes more be taken, so that @keep are left for others?  0 or SHMKV_ENOSPC with the remedy.
 * Cheap, see arena_limits.c. */
int arena_limits_admit(const struct arena *a, uint64_t bytes, uint64_t keep);

#endif
