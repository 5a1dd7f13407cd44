/* What a board provides to the harness; firmware/boards/<name>/port.c implements it. */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

#ifndef PORT_BAUD
#define PORT_BAUD 115200u /* of the console */
#endif

/* Addresses that the program may use beside its code and its RAM. */
typedef struct {
    uint32_t base;    /* aligned to `bytes` */
    uint32_t bytes;   /* a power of two from 256 up; 0: none */
    uint32_t kind;    /* PORT_DEVICE or PORT_READ_ONLY */
    uint32_t eighths; /* bit i: eighth i is open; 0: all. ARMv8-M opens the whole */
} port_region;

#define PORT_DEVICE 0u
#define PORT_READ_ONLY 1u /* memory, not executed */

#define PORT_PERIPHERAL_REGIONS 2

/* The peripherals in use; entries of 0 bytes are switched off. */
extern const port_region port_peripherals[PORT_PERIPHERAL_REGIONS];

/* Clocks, console and counter; runs before any protection is on. */
void port_init(void);

/* The console. Sending waits; receiving does not: the next byte, or -1 when none is there. */
void port_putc(char c);
int32_t port_getc(void);

/* The counter: ticks of PORT_COUNT_PER_TICK PORT_COUNT_UNIT each (board.h). */
void port_count_start(void);
uint32_t port_count_ticks(void);

#endif
