/* SPDX-License-Identifier: MIT */
/* attached.c - see attached.h. */
#define _GNU_SOURCE
#include "attached.h"

#include <sys/mman.h>

#include "peer.h"
#include "scratch.h"

struct arena attached_arena;
struct process attached_self;
_Atomic uint32_t *attached_reaped;

void attached_count(void *arg, uint32_t process)
{
    (void)arg;
    add_seq_cst(&attached_reaped[process], 1u);
}

int attached_setup(void **state)
{
    size_t size = PROCESS_MAX * sizeof(*attached_reaped);
    if (scratch_setup(state) != 0 || fork_init() != 0)
        return -1;
    attached_reaped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return scratch_open(&attached_arena, "shm:a", true) ||
           process_join(&attached_self, &attached_arena, attached_count, NULL);
}

int attached_teardown(void **state)
{
    process_leave(&attached_self);
    arena_close(&attached_arena);
    munmap(attached_reaped, PROCESS_MAX * sizeof(*attached_reaped));
    return scratch_teardown(state);
}

unsigned attached_reap(void)
{
    return process_reap_dead(&attached_arena, attached_self.index, attached_count, NULL);
}

bool attached_alive(int32_t index)
{
    return process_alive(&attached_arena, attached_self.index, (uint32_t)index);
}

int attached_join(struct process *p)
{
    CHECK(fork_word() == 0);
    CHECK(fork_renew() == 0);
    CHECK(arena_after_fork(&attached_arena) == 0);
    CHECK(process_join(p, &attached_arena, attached_count, NULL) == 0);
    return 0;
}
