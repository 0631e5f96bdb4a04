"""The runtime that every Feedmesh service shares: RPC, tables, queues, ids, paging, settings and telemetry."""
