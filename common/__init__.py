"""What models, guides and compression alike must know of a plain network and its data.

Plain torch: no Pyro, and nothing else of the project.
"""
