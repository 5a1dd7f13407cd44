"""What a TFLite model keeps from one invocation to the next: variables, and states of recurrent layers."""
