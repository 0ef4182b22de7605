"""What a record means: pure, so that it is judged anew from the file whenever somebody asks."""
