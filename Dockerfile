# Nothing but the program and certificate authorities; the program holds the time zones itself. It is built outside (see
# image.sh), so that any builder will do. The base is an argument, for those who want a shell or authorities of their own.
ARG BASE=scratch
FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED
LABEL org.opencontainers.image.title="freshgate" \
      org.opencontainers.image.description="A deployment policy gate for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY freshgate /freshgate
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/freshgate"]
CMD ["serve"]
