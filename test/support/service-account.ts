import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ServiceAccount } from '../../src/vendors/google/facts.js'

interface TestAccount extends ServiceAccount {
  readonly publicKey: KeyObject
}

/** Key of a service account that does not exist; short, because long keys take a second to make. */
export function serviceAccount(keyId: string): TestAccount {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  return {
    email: 'mkondo@a-project.iam.gserviceaccount.com',
    keyId,
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey,
  }
}

/** File of the key in Google Cloud's form. @returns the path */
export function accountFile(
  folder: string,
  { email, keyId, privateKey }: ServiceAccount,
  changed: object = {},
): string {
  const path = join(folder, 'account.json')
  const file = {
    type: 'service_account',
    project_id: 'a-project',
    private_key_id: keyId,
    private_key: privateKey,
    client_email: email,
    client_id: '100000000000000000000',
    token_uri: 'https://oauth2.googleapis.com/token',
    universe_domain: 'googleapis.com',
    ...changed,
  }
  writeFileSync(path, JSON.stringify(file, null, 2))
  return path
}
