"""What the API and the workers share: tables, job states, repositories, settings, blobs. Torch-free.

(Database models. The neural networks that users upload are rows here, not code.)
"""
