# Nothing but the program, certificate authorities and time zones. The program is built outside (see image.sh), so that
# any builder will do; the base is an argument.
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
COPY zoneinfo /usr/share/zoneinfo
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/freshgate"]
CMD ["serve"]
