//! Both families of headers over the same bytes.

/// Signs with one or more secrets.
#[derive(Clone, Debug)]
pub struct Signer {}
