"""What a Flask application behind the kit's gateway needs and any other can take: copy this folder, or one file of it.

proxy     X-Forwarded-* is trusted from the gateway only
record    one record for each request: id, times, log line
logs      JSON lines with that id
breaker   while a service does not answer, one thread asks it for all requests
deadline  PostgreSQL has to answer in time, also when it is frozen
sessions  these two around a Flask-SQLAlchemy session
"""
