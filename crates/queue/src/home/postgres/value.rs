//! Values on the wire.

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::{
    error::{QueueError, Result},
    home::{Row, Value},
};

type Failure = Box<dyn std::error::Error + Sync + Send>;

/// A row of an answer.
pub(super) fn row(row: &tokio_postgres::Row) -> Result<Row> {
    (0..row.len())
        .map(|column| {
            row.try_get(column)
                .map_err(|error| QueueError::Io(std::sync::Arc::new(error)))
        })
        .collect::<Result<Vec<Value>>>()
        .map(Row)
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match self {
            Value::Null => return Ok(IsNull::Yes),
            Value::Integer(number) if *ty == Type::INT8 => out.put_i64(*number),
            Value::Integer(number) if *ty == Type::INT4 => out.put_i32(i32::try_from(*number)?),
            Value::Integer(_) => return Err(format!("a number where {ty} is wanted").into()),
            Value::Text(text) => out.put_slice(text.as_bytes()),
            Value::Blob(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        Ok(match *ty {
            Type::INT8 => Value::Integer(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Integer(i32::from_sql(ty, raw)?.into()),
            Type::BYTEA => Value::Blob(raw.to_vec()),
            _ => Value::Text(std::str::from_utf8(raw)?.to_owned()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failure> {
        Ok(Value::Null)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::INT8 | Type::INT4 | Type::BYTEA | Type::TEXT | Type::VARCHAR
        )
    }
}
