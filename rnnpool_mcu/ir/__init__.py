"""Types handed from one stage of the compiler to the next; they know no stage."""
