import type { Config } from '../config/settings.js'
import { GatewayError } from '../core/errors.js'
import type { ObjectStorage, ObjectStorageOptions } from '../telemetry/archive/objects/object-storage.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import { storageEnvironment } from './agents/agent-environment.js'
import { findS3Client } from './on-demand.js'

/**
 * Object storage with the bucket in the settings; null if the settings name no bucket.
 * @param folders data folders whose files are uploaded, this process's own folder first
 * @throws GatewayError CONFIG_INVALID if the keys for the bucket are missing
 */
export function objectStorageOf(config: Config, folders: readonly string[]): ObjectStorageOptions | null {
  const { storageBucket: bucket, storageAccessKeyId: accessKeyId, storageSecretAccessKey: secretAccessKey } = config
  if (bucket === null) return null
  if (config.storageKeys.length === 0)
    throw new GatewayError(
      'CONFIG_INVALID',
      'STORAGE_BUCKET is set without STORAGE_KEYS, and uploads must be encrypted; allowed: both settings',
    )
  if ((accessKeyId === null) !== (secretAccessKey === null))
    throw new GatewayError(
      'CONFIG_INVALID',
      'only one of STORAGE_ACCESS_KEY_ID and STORAGE_SECRET_ACCESS_KEY is set; allowed: both settings, or neither',
    )
  return {
    bucket: {
      bucket,
      endpoint: config.storageUrl,
      region: config.storageRegion,
      credentials: accessKeyId === null || secretAccessKey === null ? null : { accessKeyId, secretAccessKey },
    },
    folders,
    prefix: config.storagePrefix,
    days: { records: config.recordsKeepDays, recordings: config.recordingsKeepDays },
    masters: config.storageKeys,
  }
}

/** @throws GatewayError CONFIG_INVALID if the keys or the packages for the storage are missing */
export async function openObjectStorage(
  options: ObjectStorageOptions | null,
  log: Log,
  metrics: Metrics,
  workerEnv: Readonly<Record<string, string>>,
): Promise<ObjectStorage | null> {
  let storage: ObjectStorage | null = null
  if (options !== null) {
    await findS3Client()
    const { ObjectStorage } = await import('../telemetry/archive/objects/object-storage.js')
    storage = new ObjectStorage(options, log.component('telemetry'), storageEnvironment(process.env, workerEnv))
  }
  const objects = metrics.defineCounter('storage_objects', 'Objects of the object storage, by result', ['result'])
  for (const result of ['stored', 'failed', 'fetched', 'erased', 'left'] as const)
    metrics.countFrom(objects({ result }), () => storage?.state[result] ?? 0)
  metrics
    .defineGauge('storage_waiting', 'Objects on the disk that wait for their upload')
    .from(() => storage?.state.waiting ?? 0)
  metrics
    .defineGauge('storage_oldest_seconds', 'Age of the oldest object that waits for its upload')
    .from(() => (storage?.state.oldestMs ?? 0) / 1000)
  return storage
}
