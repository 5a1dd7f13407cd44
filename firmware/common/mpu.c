/* The protection units of ARMv6-M and ARMv7-M (PMSAv6, PMSAv7) and of ARMv8-M (PMSAv8). */
#include "mpu.h"

#include <stdint.h>

#include "io.h"
#include "port.h"

#define MPU_TYPE (*(volatile uint32_t *)0xE000ED90u)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94u)
#define MPU_RNR (*(volatile uint32_t *)0xE000ED98u)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9Cu)
#define MPU_LIMIT (*(volatile uint32_t *)0xE000EDA0u) /* RASR before ARMv8-M, RLAR since */

extern uint8_t __ram_start, __ram_end, __flash_start, __flash_end, __flash_region_start;
extern uint8_t __arena_region_start, __arena_region_end;                     /* a memory for the arena, if any */
extern uint8_t __weights_start, __weights_end, __weights_region_start, __weights_log2_bytes; /* for the weights */
extern uint8_t __flash_log2_bytes; /* an absolute symbol of memory.ld: its address is the value */

typedef enum { CODE, DATA, READ_ONLY, DEVICE, CLOSED } access;

static uint32_t region_count;

/* The linker's symbols are addresses, which the compiler may take to differ: it cannot know their distance. */
static uint32_t bytes_between(const uint8_t *start, const uint8_t *end)
{
    return (uint32_t)(end - start);
}

#define RAM_REGIONS 4        /* nested ones, for the units of protection that a budget is counted in */
#define SHARED_RAM_REGIONS 2 /* of RAM and of the arena each, where other memories need some too */

#ifdef __ARM_ARCH_8M_MAIN__
#define MPU_MAIR0 (*(volatile uint32_t *)0xE000EDC0u)
#define MAIR_NORMAL 0xAAu /* attribute 0: write-through */
#define MAIR_DEVICE 0x04u /* attribute 1: nGnRE */

/* Opens `bytes` (a multiple of 32) from `base`. Regions may not overlap, so that none closes the rest: what no
 * region covers faults by itself. */
static void add_region(uint32_t base, uint32_t bytes, uint32_t eighths, access kind)
{
    static const uint8_t access_bits[] = {[CODE] = 2u << 1, [DATA] = 1u, [READ_ONLY] = (2u << 1) | 1u, [DEVICE] = 1u};
    (void)eighths;
    if (bytes == 0u || kind == CLOSED) {
        return;
    }
    MPU_RNR = region_count++;
    MPU_RBAR = base | access_bits[kind];
    MPU_LIMIT = ((base + bytes - 1u) & ~31u) | (kind == DEVICE ? 1u << 1 : 0u) | 1u;
}

static void add_ram_regions(uint32_t base, uint32_t bytes, int32_t most)
{
    (void)most;
    add_region(base, bytes, 0, DATA);
}

static void add_flash_region(void)
{
    add_region((uint32_t)&__flash_start, (uint32_t)(&__flash_end - &__flash_start), 0, CODE);
    add_region((uint32_t)&__weights_start, bytes_between(&__weights_start, &__weights_end), 0, READ_ONLY);
}

static void set_memory_types(void)
{
    MPU_MAIR0 = MAIR_NORMAL | MAIR_DEVICE << 8;
}
#else
#define SMALLEST_REGION_WITH_EIGHTHS 256u

/* RASR fields (ARMv7-M architecture reference manual, B3.5.9). */
#define REGION_ENABLE 1u
#define REGION_NO_EXECUTE (1u << 28)
#define REGION_READ_WRITE (3u << 24)
#define REGION_READ_ONLY (6u << 24)
#define REGION_NORMAL (1u << 17)                /* C: write-through */
#define REGION_DEVICE ((1u << 18) | (1u << 16)) /* S, B */

static uint32_t log2_ceil(uint32_t value)
{
    uint32_t log2 = 0;
    while ((1u << log2) < value) {
        log2++;
    }
    return log2;
}

/* `bytes` is a power of two to which `base` is aligned; of the eighths only those whose bit is set (0: all). */
static void add_region(uint32_t base, uint32_t bytes, uint32_t eighths, access kind)
{
    static const uint32_t attributes[] = {
        [CODE] = REGION_READ_ONLY | REGION_NORMAL,
        [DATA] = REGION_READ_WRITE | REGION_NORMAL | REGION_NO_EXECUTE,
        [READ_ONLY] = REGION_READ_ONLY | REGION_NORMAL | REGION_NO_EXECUTE,
        [DEVICE] = REGION_READ_WRITE | REGION_DEVICE | REGION_NO_EXECUTE,
        [CLOSED] = REGION_NO_EXECUTE,
    };
    if (bytes == 0u) {
        return;
    }
    const uint32_t closed_eighths = eighths == 0u ? 0u : ~eighths & 0xFFu;
    MPU_RBAR = base | (1u << 4) | region_count;
    MPU_LIMIT = attributes[kind] | closed_eighths << 8 | (log2_ceil(bytes) - 1u) << 1 | REGION_ENABLE;
    region_count++;
}

/* Opens exactly `bytes` (a multiple of the unit of protection) from `base`: regions of a power of two, each cut to the eighths it
 * needs, the next one as large as one eighth and covering the rest. */
static void add_ram_regions(uint32_t base, uint32_t bytes, int32_t most)
{
    uint32_t size = 1u << log2_ceil(bytes < SMALLEST_REGION_WITH_EIGHTHS ? SMALLEST_REGION_WITH_EIGHTHS : bytes);
    for (int32_t i = 0; i < most && bytes > 0u && size >= SMALLEST_REGION_WITH_EIGHTHS; i++) {
        const uint32_t eighth = size >> 3, used = bytes / eighth;
        if (used > 0u) {
            add_region(base, size, (1u << used) - 1u, DATA);
            base += used * eighth;
            bytes -= used * eighth;
        }
        size = eighth;
    }
}

/* Flash that is no power of two lies in a region with a rest, which is read-only, too. */
static void add_flash_region(void)
{
    add_region((uint32_t)&__flash_region_start, 1u << (uint32_t)&__flash_log2_bytes, 0, CODE);
    if (bytes_between(&__weights_start, &__weights_end) > 0u) {
        add_region((uint32_t)&__weights_region_start, 1u << (uint32_t)&__weights_log2_bytes, 0, READ_ONLY);
    }
}

static void set_memory_types(void)
{
}
#endif

void mpu_protect(void)
{
    if (MPU_TYPE == 0u) {
        return;
    }
    set_memory_types();
    region_count = 0;
    /* What no region covers faults by itself on the core and on QEMU; Renode lets it pass. Region 0, which every
     * other one overrules, closes the lower half of the address space there too. */
    add_region(0u, 1u << 31, 0, CLOSED);
    add_flash_region();
    const uint32_t arena_bytes = bytes_between(&__arena_region_start, &__arena_region_end);
    const int32_t most = arena_bytes > 0u || bytes_between(&__weights_start, &__weights_end) > 0u ? SHARED_RAM_REGIONS : RAM_REGIONS;
    add_ram_regions((uint32_t)&__ram_start, (uint32_t)(&__ram_end - &__ram_start), most);
    add_ram_regions((uint32_t)&__arena_region_start, arena_bytes, most);
    for (int32_t i = 0; i < PORT_PERIPHERAL_REGIONS; i++) {
        const port_region *region = &port_peripherals[i];
        add_region(region->base, region->bytes, region->eighths, DEVICE);
    }
    add_region(io_region.base, io_region.bytes, io_region.eighths, io_region.kind == PORT_DEVICE ? DEVICE : READ_ONLY);
    if (region_count > (MPU_TYPE >> 8 & 0xFFu)) {
        io_print("error the memory protection unit has too few regions; use fewer memories, or none for the weights\n");
        io_exit(2);
    }
    MPU_CTRL = 1u; /* on, background map off */
    __asm__ volatile("dsb\n isb" ::: "memory");
}
