//! The only place that names wasmtime: engine, limits, bindings, one call at a time with a typed
//! outcome. Does not know manifests, tasks or HTTP; `plugin/` hands it views and gets verdicts.
