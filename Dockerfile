# The operator's image: the program, the libraries that it is linked to and the certificates of public CAs; no shell, no package manager.
# The builder has Rust and a C compiler; it is an argument, so that the image also builds where no registry is reached.
ARG BUILDER=rust:1.95-slim-bookworm

FROM ${BUILDER} AS builder
WORKDIR /src
# The same paths in the result, whichever the builder.
ENV CARGO_HOME=/cargo CARGO_TERM_COLOR=never
COPY Cargo.toml Cargo.lock ./
COPY tests/aws/Cargo.toml tests/aws/
COPY tests/support/Cargo.toml tests/support/
COPY tests/xtask/Cargo.toml tests/xtask/
# The dependencies first: they change less often than the program.
RUN mkdir -p src tests/operator tests/aws/src tests/support/src tests/xtask/src \
 && echo 'fn main() {}' | tee src/main.rs > tests/xtask/src/main.rs \
 && touch src/lib.rs tests/operator/main.rs tests/aws/src/lib.rs tests/support/src/lib.rs \
 && cargo build --release --locked --package repofanout --bin repofanout
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --package repofanout --bin repofanout
# What the program needs to run, and nothing else.
RUN set -eu; out=/out; bin=target/release/repofanout; mkdir -p $out/usr/bin $out/etc/ssl/certs $out/tmp; chmod 1777 $out/tmp; \
    cp $bin $out/usr/bin/; \
    for lib in $(ldd $bin | grep -o '/[^ ]*'); do mkdir -p $out$(dirname $lib); cp -L $lib $out$lib; done; \
    cp /etc/ssl/certs/ca-certificates.crt $out/etc/ssl/certs/; \
    echo 'nonroot:x:65532:65532::/:/' > $out/etc/passwd; echo 'hosts: files dns' > $out/etc/nsswitch.conf

FROM scratch
COPY --from=builder /out /
USER 65532:65532
# The allocator's one heap for all threads: what one has freed, another uses.
ENV MALLOC_ARENA_MAX=1
ENTRYPOINT ["/usr/bin/repofanout"]
CMD ["run"]
