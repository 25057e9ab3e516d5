import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { MemoryLevel } from 'memory-level'
import type { StoreSetup } from './bench-child.ts'
import type { Target } from './target.ts'

/** What both databases have in common here: their own types refuse each other. */
interface Database {
  get(key: string): Promise<unknown>
  put(key: string, value: Uint8Array, options: object): Promise<void>
  getMany(keys: string[]): Promise<unknown>
  batch(changes: { type: 'put'; key: string; value: Uint8Array }[], options: object): Promise<void>
  close(): Promise<void>
}

const VIEWS = { storeEncoding: 'view', valueEncoding: 'view' } as const

/** The database that a node would be given, alone, by its asynchronous calls: what a node adds is the difference. */
export class DatabaseTarget implements Target {
  readonly #database: Database
  readonly #folder: string | undefined
  readonly #options: object

  constructor({ folder, durability }: StoreSetup) {
    this.#folder = folder === undefined ? undefined : mkdtempSync(join(folder, 'bare-'))
    this.#options = durability === 'fsync' ? { sync: true } : {}
    this.#database =
      this.#folder === undefined
        ? new MemoryLevel<string, Uint8Array>(VIEWS)
        : new ClassicLevel<string, Uint8Array>(this.#folder, { valueEncoding: 'view' })
  }

  async fill(keys: readonly string[], value: Uint8Array): Promise<void> {
    for (const key of keys) await this.#database.put(key, value, {})
  }

  get(key: string): Promise<unknown> {
    return this.#database.get(key)
  }

  put(key: string, value: Uint8Array): Promise<unknown> {
    return this.#database.put(key, value, this.#options)
  }

  getMany(keys: readonly string[]): Promise<unknown> {
    return this.#database.getMany([...keys])
  }

  putMany(keys: readonly string[], value: Uint8Array): Promise<unknown> {
    const changes = keys.map(key => ({ type: 'put', key, value }) as const)
    return this.#database.batch(changes, this.#options)
  }

  async close(): Promise<void> {
    await this.#database.close()
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true })
  }
}

/** A map and a promise: the limit of limits. */
export class MapTarget implements Target {
  readonly #map = new Map<string, Uint8Array>()

  async fill(keys: readonly string[], value: Uint8Array): Promise<void> {
    for (const key of keys) this.#map.set(key, value)
  }

  async get(key: string): Promise<unknown> {
    return this.#map.get(key)
  }

  async put(key: string, value: Uint8Array): Promise<unknown> {
    return this.#map.set(key, value)
  }

  async getMany(keys: readonly string[]): Promise<unknown> {
    return keys.map(key => this.#map.get(key))
  }

  async putMany(keys: readonly string[], value: Uint8Array): Promise<unknown> {
    for (const key of keys) this.#map.set(key, value)
    return undefined
  }
}
