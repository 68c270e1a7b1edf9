import { GatewayError } from '../core/errors.js'

/** Maximum number of headers. In Asterisk, the dialplan's line with the encoded headers may have at most 4096 bytes. */
const HEADERS_MAX = 5
const VALUE_CHARS_MAX = 120
const NAME = /^[A-Za-z][A-Za-z0-9-]{0,39}$/
/** Prefix of a header's name in the query of a media socket. */
const PARAMETER = 'h-'

/**
 * Reads names of headers, such as `X-Account`.
 * @throws GatewayError CONFIG_INVALID
 */
export function parseHeaderNames(names: readonly string[]): readonly string[] {
  const folded = new Set(names.map((name) => name.toLowerCase()))
  if (names.length > HEADERS_MAX || folded.size < names.length || !names.every((name) => NAME.test(name)))
    throw new GatewayError(
      'CONFIG_INVALID',
      `the headers are not valid; allowed: at most ${HEADERS_MAX} names, each once, such as X-Account`,
    )
  return names
}

/**
 * Makes lines of the dialplan before the media socket, and parameters of the socket. Text from the caller's phone is in
 * Base64. Asterisk's `URIENCODE` does not encode some characters, such as parentheses, and Asterisk refuses the whole
 * call because of them.
 */
export function headerSteps(names: readonly string[]): { readonly steps: string[]; readonly values: string[] } {
  return {
    steps: names.map((name, i) => ` same => n,Set(MKONDO_H${i}=\${PJSIP_HEADER(read,${name})})`),
    values: names.map(
      (name, i) => `${PARAMETER}${name}=\${URIENCODE(\${BASE64_ENCODE(\${MKONDO_H${i}:0:${VALUE_CHARS_MAX}})})}`,
    ),
  }
}

/** @returns the headers in `names` that an INVITE contained: printable characters, at most 120 */
export function headersIn(query: URLSearchParams, names: readonly string[]): [name: string, value: string][] {
  const all = names.map((name): [string, string] => {
    const text = Buffer.from(query.get(PARAMETER + name) ?? '', 'base64').toString()
    const value = text.replaceAll(/[\p{C}\uFFFD]/gu, ' ').trim()
    return [name, value.slice(0, VALUE_CHARS_MAX)]
  })
  return all.filter(([, value]) => value !== '')
}
