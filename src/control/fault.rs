//! The errors that the administration server answers with.

use crate::hub::HubError;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A request that fails: the status, and why.
#[derive(Debug)]
pub(super) struct Fault(pub StatusCode, pub String);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Fault {
        Fault(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Fault {
        Fault(rejection.status(), rejection.body_text())
    }
}

impl From<HubError> for Fault {
    fn from(error: HubError) -> Fault {
        let status = match error {
            HubError::Full | HubError::OverBudget | HubError::Stopped | HubError::TooManyTopics => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            HubError::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Fault(status, error.to_string())
    }
}
