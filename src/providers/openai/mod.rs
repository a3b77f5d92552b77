//! Chat completions and embeddings, for OpenAI and every compatible server.
