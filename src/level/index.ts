/**
 * An abstract-level database over a keyspace.
 *
 * @packageDocumentation
 */
export { KilovoltLevel } from './kilovolt-level.ts'
export { LevelError } from './level-error.ts'
export type {
  KilovoltLevelOptions,
  LevelBatchOptions,
  LevelBatchOperation,
  LevelClearOptions,
  LevelDelOptions,
  LevelGetManyOptions,
  LevelGetOptions,
  LevelHasManyOptions,
  LevelHasOptions,
  LevelIteratorOptions,
  LevelKeyIteratorOptions,
  LevelPutOptions,
  LevelReadOptions,
  LevelStoreOptions,
  LevelValueIteratorOptions,
  LevelWriteOptions
} from './level-options.ts'
