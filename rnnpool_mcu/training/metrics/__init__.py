"""What a trained model is judged by: average precision, accuracy, protocols of COCO and WIDER FACE."""
