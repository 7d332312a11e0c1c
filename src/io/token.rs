//! The token's errands: reads the token file, or asks the token server by one HTTP/1.1 POST (hyper on our own TCP and
//! TLS). What the answer means is decided in `qss/token.rs`.

use crate::agent::{LinkError, LinkErrorKind};
use crate::config::file::Source;
use crate::config::{self, Secret};
use crate::io::disk::Disk;
use crate::io::tls::{self, Trust};
use crate::io::websocket::{connect_tcp, duration, retry_after, target};
use crate::qss::token::{Answer, Ask, MAX_ANSWER};
use crate::time::WallTime;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The errand that is under way, if there is one.
#[derive(Default)]
pub struct Errand {
    running: Option<(oneshot::Receiver<Answer>, Runner)>,
}

enum Runner {
    Task(JoinHandle<()>),
    /// A file system may hang, and nothing else is to: reading has a thread.
    Thread,
}

impl Errand {
    /// Sets out; a request that is still under way is given up, and nothing more is heard of it. A file that is still being read is
    /// waited for: there would be one more thread that hangs with each attempt. `turn`: see [`connect_tcp`].
    pub fn set_out(&mut self, ask: Ask, config: &config::Qss, not_before: WallTime, turn: usize) {
        match &self.running {
            Some((_, Runner::Thread)) => return,
            Some((_, Runner::Task(task))) => task.abort(),
            None => {}
        }
        let (done, answer) = oneshot::channel();
        let config = config.clone();
        let runner = match ask {
            Ask::File => {
                tokio::task::spawn_blocking(move || done.send(read_file(&config)));
                Runner::Thread
            }
            Ask::Form(form) => Runner::Task(tokio::spawn(async move {
                let _ = done.send(post(form, &config, not_before, turn).await);
            })),
        };
        self.running = Some((answer, runner));
    }

    /// What came of it; pends for ever while none is under way. Cancel safe.
    pub async fn next(&mut self) -> Answer {
        let Some((answer, _)) = &mut self.running else { return std::future::pending().await };
        let answer = answer.await;
        self.running = None;
        answer.unwrap_or_else(|_| Answer::Failed(LinkError::new(LinkErrorKind::TimedOut, "no answer")))
    }
}

fn read_file(config: &config::Qss) -> Answer {
    let Some(path) = &config.token_file else { return Answer::File(Err("[qss] token_file is not set".into())) };
    let read = Disk.read(path).map(|file| Secret(file.text)).map_err(|why| format!("{}: {why}", path.display()));
    Answer::File(read)
}

async fn post(form: Secret, config: &config::Qss, not_before: WallTime, turn: usize) -> Answer {
    let timeout = duration(config.auth.timeout);
    match tokio::time::timeout(timeout, exchange(form, config, not_before, turn, timeout)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::Failed(error),
        Err(_) => Answer::Failed(LinkError::new(LinkErrorKind::TimedOut, "no answer within [qss.auth] timeout_ms")),
    }
}

async fn exchange(
    form: Secret,
    config: &config::Qss,
    not_before: WallTime,
    turn: usize,
    timeout: Duration,
) -> Result<Answer, LinkError> {
    let url = config.auth.token_url.as_deref().unwrap_or_default();
    let uri: Uri = url.parse().map_err(|e| LinkError::new(LinkErrorKind::Protocol, format!("{url}: {e}")))?;
    let (host, port, secure) = target(&uri)?;
    let tcp = connect_tcp((&host, port), turn, timeout, config.tcp_user_timeout).await?;
    if secure {
        let ca_file = config.auth.ca_file.as_deref().or(config.ca_file.as_deref());
        let trust = Trust { ca_file, identity: None, not_before };
        converse(tls::connect(&host, tcp, trust).await?, form, &uri).await
    } else {
        converse(tcp, form, &uri).await
    }
}

async fn converse<S>(stream: S, form: Secret, uri: &Uri) -> Result<Answer, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| classify(&e))?;
    let request = request(form, uri)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|e| classify(&e))?;
        answer(response).await
    };
    tokio::pin!(answered);
    // The connection's task lives as long as the answer is wanted, and no longer.
    tokio::select! {
        answer = &mut answered => answer,
        ended = connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(classify(&error)),
        },
    }
}

fn request(form: Secret, uri: &Uri) -> Result<Request<Full<Bytes>>, LinkError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(form.0)));
    request.map_err(|e| LinkError::new(LinkErrorKind::Protocol, e.to_string()))
}

async fn answer(response: Response<Incoming>) -> Result<Answer, LinkError> {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| {
        let what = match e.downcast_ref::<LengthLimitError>() {
            Some(_) => "the answer is too long".to_owned(),
            None => e.to_string(),
        };
        LinkError::new(LinkErrorKind::Protocol, what)
    })?;
    let body = Secret(String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Ok(Answer::Http { status, retry_after, body })
}

/// The TLS or socket error at the root, if there is one.
fn classify(error: &hyper::Error) -> LinkError {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return tls::classify(io);
        }
        source = cause.source();
    }
    LinkError::new(LinkErrorKind::Protocol, error.to_string())
}
