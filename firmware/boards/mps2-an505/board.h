#ifndef BOARD_H
#define BOARD_H

#define PORT_TIMER0 0x50000000u
#define PORT_UART0 0x50200000u
#define PORT_PERIPHERALS {PORT_TIMER0, 0x400000u, PORT_DEVICE, 0} /* both; ARMv8-M has regions of any size */

/* With -icount shift=0 one instruction is 1 ns, and the 20 MHz timer ticks every 50. */
#define PORT_COUNT_UNIT "instructions"
#define PORT_COUNT_PER_TICK 50u

#endif
