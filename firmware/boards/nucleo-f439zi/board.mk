# The board reports over its serial port; IO=semihosting needs a debugger attached.
IO ?= uart
