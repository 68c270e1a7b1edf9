import { createPrivateKey } from 'node:crypto'
import { z } from 'zod'
import type { ServiceAccount } from '../backends/cascade/google-account.js'
import { readYamlFile } from './yaml-file.js'

/** The rest of the file is not needed. */
const schema = z.object({
  type: z.literal('service_account', { error: 'must be service_account' }),
  client_email: z.email({ error: 'must be the address of the account' }),
  private_key_id: z.string().min(1).max(200),
  private_key: z.string().refine(isRsaKey, { error: 'must be an RSA key as PEM without a passphrase' }),
})

/** Reads the key of GOOGLE_SPEECH_CREDENTIALS. @throws GatewayError CONFIG_INVALID: `readYamlFile`; never with the key */
export function readServiceAccount(path: string): ServiceAccount {
  const file = readYamlFile(path, {
    setting: 'GOOGLE_SPEECH_CREDENTIALS',
    noun: 'the JSON key of a Google Cloud service account',
    manual: 'docs/CASCADE.md',
    schema,
  })
  return { email: file.client_email, keyId: file.private_key_id, privateKey: file.private_key }
}

function isRsaKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false
  }
}
