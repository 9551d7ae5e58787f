//! Texts for compression.

/// Different texts of `bytes` bytes, like the responses of a service: objects with the same fields and other values.
pub(crate) fn texts(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut state = 12345_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut text = |number: usize| {
        let mut text = String::from("{\"items\":[");
        while text.len() < bytes {
            let (id, name, price, cents, active) =
                (number * 100 + random(16) as usize, random(16_384), random(65_536), random(100), random(2) == 1);
            text += &format!("{{\"id\":{id},\"name\":\"user{name}\",\"price\":{price}.{cents},\"active\":{active}}},");
        }
        text.into_bytes()[..bytes].to_vec()
    };
    (0..count).map(&mut text).collect()
}
