//! Where instances meet, as a file describes it.

use super::*;

/// What is wrong with the sections of what is shared, where the environment is `env`.
fn fault_of(sections: &str, env: impl Fn(&str) -> Option<String>) -> BuildError {
    let file = format!("[[balancer.endpoints]]\nprovider = 'a'\n[shared]\n{sections}");
    let config = read(&file).unwrap();
    config.assemble().env(env).provider("a", own()).build().unwrap_err()
}

#[test]
fn what_the_environment_lacks_or_has_wrong_is_named_and_not_repeated() {
    let file = "secret_env = 'SECRET'\nredis.url_env = 'URL'\npostgres.server_env = 'SERVER'";
    for (secret, url, server, field) in [
        ("", "redis://:hidden@127.0.0.1", "", "shared.secret_env"),
        ("hidden", "redis://:hidden@127.0.0.1", "", "shared.secret_env"),
        ("hidden, sixteen bytes of it", "", "", "shared.redis.url_env"),
        ("hidden, sixteen bytes of it", "hidden://127.0.0.1", "", "shared.redis.url_env"),
        ("hidden, sixteen bytes of it", "redis://127.0.0.1", "", "shared.postgres.server_env"),
        (
            "hidden, sixteen bytes of it",
            "redis://127.0.0.1",
            "hidden=",
            "shared.postgres.server_env",
        ),
    ] {
        let error = fault_of(file, |name| {
            let value = match name {
                "SECRET" => secret,
                "URL" => url,
                _ => server,
            };
            Some(value.to_owned())
        });
        assert_eq!(error.field(), field, "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
}

#[test]
fn settings_of_the_engines_are_named_by_their_path() {
    let env = |_: &str| Some("redis://127.0.0.1/?sixteen".to_owned());
    let file = "secret_env = 'SECRET'\nredis = { url_env = 'URL', prefix = 'a b' }";
    assert_eq!(fault_of(file, env).field(), "shared.redis.prefix");
    let file = "secret_env = 'S'\nredis = { url_env = 'URL', cluster_env = ['URL', 'GONE'] }";
    let env = |name: &str| (name != "GONE").then(|| "redis://127.0.0.1/?sixteen".to_owned());
    assert_eq!(fault_of(file, env).field(), "shared.redis.cluster_env[1]");
}
