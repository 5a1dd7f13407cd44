#ifndef BOARD_H
#define BOARD_H

/* P0.06 and P0.08: the debugger's virtual serial port. */
#define PORT_TX_PIN 6u
#define PORT_RX_PIN 8u

#define PORT_COUNT_UNIT "cycles"
#define PORT_COUNT_PER_TICK 1u

#endif
