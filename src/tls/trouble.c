/* Why a handshake failed, in words for a log line: from the result of verification, the alert that
 * the peer sent, or what OpenSSL found. The texts say what stands in the way, never what to do
 * about it: only whoever knows the configuration can tell that. Source: RFC 8446 section 6
 * (alerts), RFC 5280 section 6 (verification). */
#include "tls/transport.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>

#include "tls/tls_priv.h"

struct phrase {
    long code;
    const char *text;
};

/* OpenSSL's own words are used for what is not here. */
static const struct phrase verify_phrases[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED,                  "a certificate has expired"                           },
    {X509_V_ERR_CERT_NOT_YET_VALID,                "a certificate is not valid yet"                      },
    {X509_V_ERR_HOSTNAME_MISMATCH,                 "the certificate is for another name"                 },
    {X509_V_ERR_IP_ADDRESS_MISMATCH,               "the certificate is for another address"              },
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
     "the certificate is self-signed and not one of the authorities"                                     },
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
     "the chain ends at a root that is not one of the authorities"                                       },
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
     "the certificate was signed by none of the authorities, or the chain has a gap"                     },
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
     "the certificate was signed by none of the authorities, or the chain has a gap"                     },
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
     "the certificate was signed by none of the authorities, or the chain has a gap"                     },
    {X509_V_ERR_CERT_SIGNATURE_FAILURE,            "a certificate's signature is wrong"                  },
    {X509_V_ERR_CERT_CHAIN_TOO_LONG,               "the chain is longer than the depth allows"           },
    {X509_V_ERR_PATH_LENGTH_EXCEEDED,              "the chain is longer than its authorities allow"      },
    {X509_V_ERR_CERT_REVOKED,                      "a certificate was revoked"                           },
    {X509_V_ERR_CRL_HAS_EXPIRED,                   "a revocation list has expired"                       },
    {X509_V_ERR_CRL_NOT_YET_VALID,                 "a revocation list is not valid yet"                  },
    {X509_V_ERR_UNABLE_TO_GET_CRL,                 "an authority of the chain has no revocation list"    },
    {X509_V_ERR_INVALID_PURPOSE,                   "the certificate is not for servers"                  },
    {X509_V_ERR_INVALID_CA,                        "a certificate of the chain is not for signing others"},
    {X509_V_ERR_EE_KEY_TOO_SMALL,                  "the certificate's key is too weak"                   },
    {X509_V_ERR_CA_KEY_TOO_SMALL,                  "an authority's key is too weak"                      },
    {X509_V_ERR_CA_MD_TOO_WEAK,                    "a certificate's signature is too weak"               },
};

#define ALERT(name) (SSL_AD_REASON_OFFSET + (name))
#define OURS        "the peer refuses the client certificate: "

/* A peer tells by these that the handshake did not succeed; TLS 1.3 lets it do so when for us it is
 * over. */
static const struct phrase refusals[] = {
    {ALERT(SSL_AD_HANDSHAKE_FAILURE),       "the peer finds no cipher or certificate acceptable"        },
    {ALERT(SSL_AD_BAD_CERTIFICATE),         OURS "it is not good"                                       },
    {ALERT(SSL_AD_UNSUPPORTED_CERTIFICATE), OURS "its kind is not supported"                            },
    {ALERT(SSL_AD_CERTIFICATE_REVOKED),     OURS "it was revoked"                                       },
    {ALERT(SSL_AD_CERTIFICATE_EXPIRED),     OURS "it has expired"                                       },
    {ALERT(SSL_AD_CERTIFICATE_UNKNOWN),     OURS "it cannot be used"                                    },
    {ALERT(SSL_AD_UNKNOWN_CA),              OURS "it does not know who signed it"                       },
    {ALERT(SSL_AD_DECRYPT_ERROR),           "the peer finds a signature or a key of the handshake wrong"},
    {ALERT(SSL_AD_CERTIFICATE_REQUIRED),    "the peer wants a client certificate"                       },
};

static const struct phrase fault_phrases[] = {
    {ALERT(SSL_AD_PROTOCOL_VERSION),             "the peer speaks no version of TLS that is allowed"},
    {ALERT(SSL_AD_INSUFFICIENT_SECURITY),        "the peer wants stronger ciphers"                  },
    {ALERT(SSL_AD_UNRECOGNIZED_NAME),            "the peer does not know the server name"           },
    {ALERT(SSL_AD_NO_APPLICATION_PROTOCOL),
     "the peer does not speak the protocol that was offered"                                        },
    {ALERT(SSL_AD_INTERNAL_ERROR),               "the peer reports an error inside it"              },
    {ALERT(SSL_AD_USER_CANCELLED),               "the peer has called the handshake off"            },
    {SSL_R_UNSUPPORTED_PROTOCOL,                 "the peer speaks no version of TLS that is allowed"},
    {SSL_R_WRONG_SSL_VERSION,                    "the peer speaks no version of TLS that is allowed"},
    {SSL_R_WRONG_VERSION_NUMBER,                 "the peer does not speak TLS"                      },
    {SSL_R_HTTP_REQUEST,                         "the peer does not speak TLS"                      },
    {SSL_R_BAD_RECORD_TYPE,                      "the peer does not speak TLS"                      },
    {SSL_R_PACKET_LENGTH_TOO_LONG,               "the peer does not speak TLS"                      },
    {SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED,
     "the peer does not know secure renegotiation (RFC 5746)"                                       },
    {SSL_R_DH_KEY_TOO_SMALL,                     "the peer's Diffie-Hellman key is too weak"        },
    {SSL_R_EE_KEY_TOO_SMALL,                     "the certificate's key is too weak"                },
    {SSL_R_NO_SHARED_CIPHER,                     "no cipher in common"                              },
    {SSL_R_NO_SUITABLE_KEY_SHARE,                "no group for the key exchange in common"          },
    {SSL_R_UNEXPECTED_EOF_WHILE_READING,         "the peer closed the connection in the handshake"  },
    {SSL_R_EXCESSIVE_MESSAGE_SIZE,               "the peer sends a message that is too large"       },
    {SSL_R_BAD_EXTENSION,                        "the peer chose what was not offered"              },
};

/* What is not here is malformed. */
static const struct {
    int code;
    enum tls_obstacle obstacle;
} obstacles[] = {
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, TLS_OBSTACLE_CLOSED },
    {SSL_R_WRONG_VERSION_NUMBER,         TLS_OBSTACLE_NOT_TLS},
    {SSL_R_HTTP_REQUEST,                 TLS_OBSTACLE_NOT_TLS},
    {SSL_R_HTTPS_PROXY_REQUEST,          TLS_OBSTACLE_NOT_TLS},
    {SSL_R_BAD_RECORD_TYPE,              TLS_OBSTACLE_NOT_TLS},
    {SSL_R_PACKET_LENGTH_TOO_LONG,       TLS_OBSTACLE_NOT_TLS},
    {SSL_R_UNSUPPORTED_PROTOCOL,         TLS_OBSTACLE_VERSION},
    {SSL_R_WRONG_SSL_VERSION,            TLS_OBSTACLE_VERSION},
    {SSL_R_VERSION_TOO_LOW,              TLS_OBSTACLE_VERSION},
    {SSL_R_NO_SHARED_CIPHER,             TLS_OBSTACLE_CIPHER },
    {SSL_R_NO_SUITABLE_KEY_SHARE,        TLS_OBSTACLE_CIPHER },
    {SSL_R_NO_SHARED_GROUPS,             TLS_OBSTACLE_CIPHER },
    {SSL_R_NO_APPLICATION_PROTOCOL,      TLS_OBSTACLE_ALPN   },
    {SSL_R_CALLBACK_FAILED,              TLS_OBSTACLE_REFUSED},
};

#define FIND(phrases, code) phrase_find(phrases, sizeof(phrases) / sizeof((phrases)[0]), code)

static const char *phrase_find(const struct phrase *phrases, size_t n, long code)
{
    for (size_t i = 0; i < n; i++) {
        if (phrases[i].code == code) {
            return phrases[i].text;
        }
    }
    return NULL;
}

static const char *verify_text(long result)
{
    const char *text = FIND(verify_phrases, result);
    return text != NULL ? text : X509_verify_cert_error_string(result); /* static, too */
}

static const char *fault_text(const struct tls_conn *c, int reason)
{
    const char *text = FIND(refusals, reason);
    text = text != NULL ? text : FIND(fault_phrases, reason);
    if (text != NULL) {
        return text;
    }
    if (c->news_n > TLS_NEWS_MAX) {
        return "the peer sends nothing but messages of TLS itself";
    }
    if (reason == 0) { /* the socket's own fault, or close_notify */
        return c->transport->is_at_end ? "the peer closed the connection in the handshake"
                                       : "the connection broke in the handshake";
    }
    return reason > SSL_AD_REASON_OFFSET ? "the peer broke the handshake off with an alert"
                                         : "the peer breaks the rules of TLS";
}

static enum tls_obstacle obstacle_of(int reason)
{
    if (reason == 0) { /* the socket's own fault, or close_notify */
        return TLS_OBSTACLE_CLOSED;
    }
    for (size_t i = 0; i < sizeof(obstacles) / sizeof(obstacles[0]); i++) {
        if (obstacles[i].code == reason) {
            return obstacles[i].obstacle;
        }
    }
    return reason > SSL_AD_REASON_OFFSET ? TLS_OBSTACLE_ALERT : TLS_OBSTACLE_MALFORMED;
}

struct tls_trouble tls_trouble_find(const struct tls_conn *c, unsigned long code)
{
    int reason = ERR_GET_REASON(code);
    bool has_failed = !c->is_shaken || (!c->has_received && FIND(refusals, reason) != NULL);
    struct tls_trouble trouble = {REASON_none, obstacle_of(reason), fault_text(c, reason)};
    if (c->is_plain) {
        trouble.reason = REASON_plain_http;
        trouble.obstacle = TLS_OBSTACLE_NOT_TLS;
        return trouble;
    }
    if (!c->side->speaks_first || !has_failed) {
        return trouble;
    }
    trouble.reason = REASON_upstream_tls;
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        trouble.reason = REASON_upstream_certificate;
        trouble.text = verify_text(SSL_get_verify_result(c->ssl));
    }
    return trouble;
}
