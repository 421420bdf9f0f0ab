"""What evaluation needs: truth of objects, the Replica protocol, image quality."""
