import { randomBytes } from 'node:crypto'
import { xmlDocument } from '../core/xml.js'
import type { SipAccount } from '../exchange/own-asterisk.js'
import { LocalHttpServer } from '../system/local-http-server.js'

const CONNECTIONS_MAX = 20
const REQUEST_TIMEOUT_MS = 5000
const REGISTERED_S = 600
/** Realm of Asterisk's passwords. */
const REALM = 'asterisk'

/**
 * Server of SIP account settings for Linphone. The phone fetches its settings from the address in a QR code ("remote
 * provisioning"). Anyone who knows the address can read the password. The address contains 128 random bits, and becomes
 * invalid when this server ends.
 */
export class PhoneSettings extends LocalHttpServer {
  readonly #paths: readonly string[]

  /**
   * @param host  address of this machine that phones can reach
   * @param sip  address at which phones register, such as `192.0.2.2:5060`
   */
  constructor(host: string, sip: string, accounts: readonly SipAccount[]) {
    const texts = new Map(
      accounts.map((account) => [`/${randomBytes(16).toString('base64url')}`, settingsOf(account, sip)]),
    )
    super({ host }, ({ method, url = '/' }, response) => {
      const text = method === 'GET' ? texts.get(url) : undefined
      response.writeHead(text === undefined ? 404 : 200, { 'content-type': 'application/xml', connection: 'close' })
      response.end(text ?? '')
    })
    this.#paths = [...texts.keys()]
    this.server.headersTimeout = REQUEST_TIMEOUT_MS
    this.server.requestTimeout = REQUEST_TIMEOUT_MS
    this.server.maxConnections = CONNECTIONS_MAX
  }

  /** One address for each account, in the accounts' order. */
  get urls(): readonly string[] {
    return this.#paths.map((path) => this.baseUrl + path)
  }
}

/** Linphone's settings as XML: one account, which replaces the phone's earlier accounts. */
function settingsOf({ user, password }: SipAccount, sip: string): string {
  const host = sip.replace(/:\d+$/, '')
  const sections = {
    sip: { default_proxy: '0', media_encryption: 'none' },
    proxy_0: {
      reg_proxy: `<sip:${sip};transport=udp>`,
      reg_identity: `sip:${user}@${host}`,
      reg_expires: String(REGISTERED_S),
      reg_sendregister: '1',
    },
    auth_info_0: { username: user, passwd: password, realm: REALM, domain: host },
  }
  return xmlDocument(
    {
      name: 'config',
      attributes: { xmlns: 'http://www.linphone.org/xsds/lpconfig.xsd' },
      content: Object.entries(sections).map(([name, entries]) => ({
        name: 'section',
        attributes: { name },
        content: Object.entries(entries).map(([entry, value]) => ({
          name: 'entry',
          attributes: { name: entry, overwrite: true },
          content: value,
        })),
      })),
    },
    'lines',
  )
}
