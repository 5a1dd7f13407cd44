#ifndef BOARD_H
#define BOARD_H

#define PORT_TIMER0 0x40000000u
#define PORT_UART0 0x40004000u
#define PORT_PERIPHERALS {PORT_TIMER0, 0x8000u, PORT_DEVICE, 0x11u} /* of eighths of 4 KB the first and the fifth */

/* With -icount shift=0 one instruction is 1 ns, and the 25 MHz timer ticks every 40. */
#define PORT_COUNT_UNIT "instructions"
#define PORT_COUNT_PER_TICK 40u

#endif
