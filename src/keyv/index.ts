/**
 * A store for Keyv, and so for what is built on it: cache-manager, cacheable and the caches of many frameworks.
 *
 * @packageDocumentation
 */
export { KilovoltKeyv } from './kilovolt-keyv.ts'
export type { KeyvStoreEntry, KilovoltKeyvOptions } from './kilovolt-keyv.ts'
