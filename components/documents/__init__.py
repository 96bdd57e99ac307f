"""Pure builders of documents: pod specs, policies, routes. Plans in, plain dictionaries out; no Pulumi resource."""
