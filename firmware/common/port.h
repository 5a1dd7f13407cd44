/* What a board provides to the harness; firmware/boards/<name>/port.c implements it. */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

/* One memory protection region, as two ARMv7-M register values without the region number. */
typedef struct {
    uint32_t base;       /* aligned to the region's size */
    uint32_t attributes; /* RASR: size, access, disabled eighths, enable */
} port_region;

/* RASR fields (ARMv7-M architecture reference manual, B3.5.9). */
#define REGION_SIZE(log2_bytes) ((uint32_t)((log2_bytes)-1) << 1)
#define REGION_ONLY_EIGHTHS(mask) ((~(uint32_t)(mask)&0xFFu) << 8) /* bit i: eighth i stays accessible */
#define REGION_ENABLE 1u
#define REGION_NO_EXECUTE (1u << 28)
#define REGION_NO_ACCESS 0u
#define REGION_READ_WRITE (3u << 24)
#define REGION_READ_ONLY (6u << 24)
#define REGION_NORMAL (1u << 17)                 /* C: write-through */
#define REGION_DEVICE ((1u << 18) | (1u << 16))  /* S, B */

#define PORT_PERIPHERAL_REGIONS 2

/* The peripherals in use; entries with attributes 0 are switched off. */
extern const port_region port_peripherals[PORT_PERIPHERAL_REGIONS];

/* Clocks, console and counter; runs before any protection is on. */
void port_init(void);

/* The console, blocking. */
void port_putc(char c);
uint8_t port_getc(void);

/* The counter: ticks of PORT_COUNT_PER_TICK PORT_COUNT_UNIT each (board.h). */
void port_count_start(void);
uint32_t port_count_ticks(void);

#endif
