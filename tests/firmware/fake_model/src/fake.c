#include "fake.h"

#include <string.h>

#include "kernels/dot_s8.h"
#include "fake_weights.h"

#ifndef FAKE_FAULT
#define FAKE_FAULT 0
#endif
#ifndef FAKE_SPIN
#define FAKE_SPIN 0
#endif

#define FAULT_ARENA_OVERRUN 1  /* one byte behind the arena */
#define FAULT_STACK 2          /* a frame larger than the stack reserve */
#define FAULT_BEYOND_BUDGET 3  /* the first byte after the RAM budget */
#define FAULT_BELOW_BUDGET 4   /* the last byte before it */
#define FAULT_WRITE_FLASH 5
#define FAULT_EXECUTE_RAM 6
#define FAULT_SKIPS_ROW 7

#define FAULT_BEYOND_ARENA_REGION 8 /* the first byte after what is open of the arena's own memory */
#define FAULT_BEFORE_ARENA_REGION 9

#if FAKE_FAULT == FAULT_BEYOND_ARENA_REGION || FAKE_FAULT == FAULT_BEFORE_ARENA_REGION
extern uint8_t __arena_region_start, __arena_region_end;
#endif

#if FAKE_FAULT == FAULT_BEYOND_BUDGET
extern uint8_t __ram_end;
#endif

#if FAKE_FAULT == FAULT_STACK
__attribute__((noinline)) static void overflow_stack(uint8_t value)
{
    volatile uint8_t block[8192];
    block[8191] = value;
    block[0] = block[8191];
}
#endif

static void misbehave(uint8_t *arena)
{
#if FAKE_FAULT == FAULT_ARENA_OVERRUN
    ((volatile uint8_t *)arena)[FAKE_ARENA_BYTES] = 1;
#elif FAKE_FAULT == FAULT_STACK
    overflow_stack(arena[0]);
#elif FAKE_FAULT == FAULT_BEYOND_BUDGET
    *(volatile uint8_t *)&__ram_end = 1;
#elif FAKE_FAULT == FAULT_BELOW_BUDGET
    *(volatile uint8_t *)0x1FFFFFFFu = 1;
#elif FAKE_FAULT == FAULT_BEYOND_ARENA_REGION
    *(volatile uint8_t *)&__arena_region_end = 1;
#elif FAKE_FAULT == FAULT_BEFORE_ARENA_REGION
    *(volatile uint8_t *)((uintptr_t)&__arena_region_start - 1u) = 1;
#elif FAKE_FAULT == FAULT_WRITE_FLASH
    *(volatile uint8_t *)(uintptr_t)fake_weights_row = 1;
#elif FAKE_FAULT == FAULT_EXECUTE_RAM
    ((void (*)(void))((uintptr_t)arena | 1u))();
#endif
    (void)arena;
}

static void spin(void)
{
#if FAKE_SPIN > 0
    uint32_t count = FAKE_SPIN; /* exactly 2 instructions a round */
    __asm__ volatile("1: subs %0, #1\n bne 1b" : "+r"(count));
#endif
}

fake_status fake_run(uint8_t *arena, fake_row_source rows, void *user, fake_output *out)
{
    int8_t *const row = (int8_t *)arena;
    misbehave(arena);
    spin();
    for (int32_t y = 0; y < FAKE_INPUT_HEIGHT; y++) {
        const uint8_t *pixels = rows(user, FAKE_FAULT == FAULT_SKIPS_ROW && y == 5 ? 99 : y);
        if (pixels == NULL) {
            return FAKE_NO_ROW;
        }
        for (int32_t x = 0; x < FAKE_INPUT_WIDTH; x++) {
            row[x] = (int8_t)((int32_t)pixels[x] - 128);
        }
        const int64_t sum = dot_s8(row, fake_weights_row, FAKE_INPUT_WIDTH);
        out->logits[y] = (int8_t)((sum / (int64_t)(y + 3) + use_stack(y)) & 0x7F);
#ifdef FAKE_TRACE
        fake_trace(0, y, row, FAKE_INPUT_WIDTH);
        fake_trace(1, y, &out->logits[y], 1);
#endif
    }
    return FAKE_OK;
}
