#ifndef BOARD_H
#define BOARD_H

/* With -icount shift=0 one instruction is 1 ns, and the 25 MHz timer ticks every 40. */
#define PORT_COUNT_UNIT "instructions"
#define PORT_COUNT_PER_TICK 40u

#endif
