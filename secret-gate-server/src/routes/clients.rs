//! Handing out the client.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secret_gate_core::wire::ErrorResponse;
use tokio_util::io::ReaderStream;

use crate::App;
use crate::error::ApiError;
use crate::extract::Path;

/// The operating systems that there are clients for.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "a shape, never a value")]
enum Os {
    Linux,
    Darwin,
}

/// The processors that there are clients for.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "a shape, never a value")]
enum Arch {
    Amd64,
    Arm64,
}

/// Download the client
#[utoipa::path(get, path = "/client/{os}/{arch}", tag = "client",
    params(("os" = inline(Os), Path), ("arch" = inline(Arch), Path)),
    responses((status = 200, description = "the client", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "invalid_os, invalid_arch, invalid_path", body = ErrorResponse),
        (status = 404, description = "not_found", body = ErrorResponse)))]
pub(super) async fn download(
    State(app): State<App>,
    Path((os, arch)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    if !matches!(os.as_str(), "linux" | "darwin") {
        return Err(ApiError::bad_request("invalid_os", "The operating system must be linux or darwin."));
    }
    if !matches!(arch.as_str(), "amd64" | "arm64") {
        return Err(ApiError::bad_request("invalid_arch", "The architecture must be amd64 or arm64."));
    }
    // both words are from the lists above, so the path stays inside the folder
    let path = app.client_dir.join(format!("client-{os}-{arch}"));
    let not_here =
        |_| ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("This server has no client for {os} {arch}."));
    let file = tokio::fs::File::open(&path).await.map_err(not_here)?;
    let metadata = file.metadata().await.map_err(not_here)?;
    if !metadata.is_file() {
        return Err(not_here(std::io::ErrorKind::NotFound.into()));
    }
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, "attachment; filename=secret-gate".to_owned()),
        (header::CONTENT_LENGTH, metadata.len().to_string()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

/// Download the client for Linux
#[utoipa::path(get, path = "/client/{arch}", tag = "client",
    params(("arch" = inline(Arch), Path)),
    responses((status = 200, description = "the client", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "invalid_arch, invalid_path", body = ErrorResponse),
        (status = 404, description = "not_found", body = ErrorResponse)))]
pub(super) async fn download_linux(app: State<App>, Path(arch): Path<String>) -> Result<Response, ApiError> {
    download(app, Path(("linux".to_owned(), arch))).await
}

pub(super) fn invalid_path() -> ApiError {
    ApiError::bad_request("invalid_path", "The path must be /client/OS/ARCH, such as /client/linux/amd64.")
}
