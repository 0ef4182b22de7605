"""What a record means: pure, so that it can be judged anew from the file."""
