//! Builtin functions beside those of regorus, which has these only together with a
//! clock or the standard library. Each is a function of its arguments.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use regorus::{Engine, Value};

use crate::settings::BuiltinErrors;

type Builtin = fn(&Value) -> Result<Value>;

const OF_ONE: [(&str, Builtin); 4] = [
    ("time.parse_rfc3339_ns", parse_rfc3339_ns),
    ("time.clock", clock),
    ("time.date", date),
    ("time.weekday", weekday),
];

/// Adds the functions to an engine.
///
/// # Errors
/// The engine has one of them.
pub fn add(engine: &mut Engine, errors: BuiltinErrors) -> Result<()> {
    let answer = move |answered: Result<Value>| match errors {
        BuiltinErrors::Fail => answered,
        BuiltinErrors::Undefined => Ok(answered.unwrap_or(Value::Undefined)),
    };
    for (name, builtin) in OF_ONE {
        let extension = move |arguments: Vec<Value>| match &arguments[..] {
            [argument] => answer(builtin(argument)),
            _ => bail!("takes one argument"),
        };
        engine.add_extension(name.into(), 1, Box::new(extension))?;
    }
    let extension = move |arguments: Vec<Value>| match &arguments[..] {
        [net, address] => answer(cidr_contains(net, address)),
        _ => bail!("takes two arguments"),
    };
    engine.add_extension("net.cidr_contains".into(), 2, Box::new(extension))
}

fn parse_rfc3339_ns(text: &Value) -> Result<Value> {
    let text = text.as_string()?;
    let time: Timestamp = text.parse().with_context(|| format!("no time: {text:?}"))?;
    // A time of before 1678 or after 2261 has no nanoseconds in OPA either.
    let nanoseconds = i64::try_from(time.as_nanosecond()).context("out of range")?;
    Ok(Value::from(nanoseconds))
}

/// Nanoseconds, or an array of them and a time zone. UTC only: what a zone's name
/// means changes with the database.
fn zoned(argument: &Value) -> Result<Zoned> {
    let (nanoseconds, zone) = match argument {
        Value::Array(array) => (array.get(0).context("an empty array")?, array.get(1)),
        nanoseconds => (nanoseconds, None),
    };
    if let Some(zone) = zone {
        match zone.as_string()?.as_ref() {
            "" | "UTC" => {}
            zone => bail!("time zone {zone:?}: there is UTC only; add its offset instead"),
        }
    }
    let time = Timestamp::from_nanosecond(nanoseconds.as_i128()?)?;
    Ok(time.to_zoned(TimeZone::UTC))
}

fn clock(argument: &Value) -> Result<Value> {
    let time = zoned(argument)?;
    Ok(numbers(
        [time.hour(), time.minute(), time.second()].map(i64::from),
    ))
}

fn date(argument: &Value) -> Result<Value> {
    let time = zoned(argument)?;
    Ok(numbers([
        i64::from(time.year()),
        i64::from(time.month()),
        i64::from(time.day()),
    ]))
}

fn weekday(argument: &Value) -> Result<Value> {
    Ok(Value::from(match zoned(argument)?.weekday() {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }))
}

fn numbers(numbers: [i64; 3]) -> Value {
    Value::from(numbers.map(Value::from).to_vec())
}

/// Whether a network holds an address, or another network as a whole.
fn cidr_contains(net: &Value, address: &Value) -> Result<Value> {
    let parse = |text: &Value| -> Result<IpNet> {
        let text = text.as_string()?;
        let parsed = match text.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address)),
            Err(_) => text.parse(),
        };
        parsed.with_context(|| format!("no address or network: {text:?}"))
    };
    Ok(Value::from(parse(net)?.contains(&parse(address)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(errors: BuiltinErrors, expression: &str) -> Result<String, String> {
        let mut engine = Engine::new();
        add(&mut engine, errors).unwrap();
        let results = engine.eval_query(expression.into(), false);
        results
            .map(|results| match results.result.first() {
                Some(result) => result.expressions[0].value.to_string(),
                None => "undefined".into(),
            })
            .map_err(|error| crate::policy::one_line(&error))
    }

    #[test]
    fn times_are_as_opa_has_them() {
        let cases = [
            (
                r#"time.parse_rfc3339_ns("2026-11-21T06:31:01.724580Z")"#,
                "1795242661724580000",
            ),
            (
                r#"time.parse_rfc3339_ns("2026-11-21T07:31:01+01:00")"#,
                "1795242661000000000",
            ),
            ("time.clock(1795242661724580000)", "[6,31,1]"),
            (r#"time.clock([1795242661724580000,"UTC"])"#, "[6,31,1]"),
            ("time.date(1795242661724580000)", "[2026,11,21]"),
            ("time.weekday(1795242661724580000)", r#""Saturday""#),
            ("time.weekday(0)", r#""Thursday""#),
            ("time.date(-1)", "[1969,12,31]"),
        ];
        for (expression, expected) in cases {
            let value = eval(BuiltinErrors::Fail, expression);
            assert_eq!(value.as_deref(), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn networks_hold_addresses_and_networks() {
        let cases = [
            (r#"net.cidr_contains("10.0.0.0/8","10.1.2.3")"#, "true"),
            (r#"net.cidr_contains("10.0.0.0/8","11.1.2.3")"#, "false"),
            (r#"net.cidr_contains("10.0.0.0/8","10.1.0.0/16")"#, "true"),
            (r#"net.cidr_contains("10.1.0.0/16","10.0.0.0/8")"#, "false"),
            (r#"net.cidr_contains("fd00::/8","fd12::1")"#, "true"),
            (r#"net.cidr_contains("fd00::/8","10.1.2.3")"#, "false"),
        ];
        for (expression, expected) in cases {
            let value = eval(BuiltinErrors::Fail, expression);
            assert_eq!(value.as_deref(), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn an_error_fails_or_is_undefined() {
        let cases = [
            (r#"time.parse_rfc3339_ns("yesterday")"#, "yesterday"),
            (r#"time.clock([0,"Europe/Berlin"])"#, "Europe/Berlin"),
            ("time.clock([])", "empty"),
            (
                r#"net.cidr_contains("10.0.0.0/8","localhost")"#,
                "localhost",
            ),
            (
                r#"time.parse_rfc3339_ns("9999-01-01T00:00:00Z")"#,
                "out of range",
            ),
        ];
        for (expression, named) in cases {
            let error = eval(BuiltinErrors::Fail, expression).unwrap_err();
            assert!(error.contains(named), "{expression}: {error}");
            let value = eval(BuiltinErrors::Undefined, expression);
            assert!(
                matches!(value.as_deref(), Ok("undefined" | "\"<undefined>\"")),
                "{expression}: {value:?}"
            );
        }
    }
}
