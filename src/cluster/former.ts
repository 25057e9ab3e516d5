import { KilovoltError } from '../base/errors.ts'
import { Writer } from '../codec/writer.ts'
import type { ClusterId } from '../model/node-id.ts'
import { metaKey } from '../storage/key-layout.ts'
import { seal, unseal } from '../storage/sealed.ts'
import type { Store, StoreChange } from '../storage/store.ts'
import { readClusters, writeClusters } from './kinship.ts'

const FORMER_KEY = metaKey(Uint8Array.of(1))

/**
 * The clusters that this node was in, that have ended, and whose records it may still hold: noted before it leaves one, so
 * that a later life knows that what the store holds is not of the cluster it finds itself in.
 */
export class Former {
  readonly #store: Store
  #clusters: readonly ClusterId[] = []
  /** One change after another, each of what the one before has left: what is added meanwhile stays. */
  #changing: Promise<void> = Promise.resolve()

  constructor(store: Store) {
    this.#store = store
  }

  get clusters(): readonly ClusterId[] {
    return this.#clusters
  }

  get isEmpty(): boolean {
    return this.#clusters.length === 0
  }

  has(cluster: ClusterId | undefined): boolean {
    return cluster !== undefined && this.#clusters.includes(cluster)
  }

  /** @throws KilovoltError `KV_STORAGE`, `KV_CORRUPT` */
  async load(): Promise<void> {
    const [sealed] = await this.#store.getMany([FORMER_KEY])
    this.#clusters = sealed === undefined ? [] : unseal(FORMER_KEY, sealed, readClusters, corrupt)
  }

  /** Resolves when no restart forgets it. @throws KilovoltError `KV_STORAGE` */
  add(cluster: ClusterId): Promise<void> {
    return this.#change(clusters => (clusters.includes(cluster) ? clusters : [...clusters, cluster]))
  }

  /** What the store holds of these clusters is in its place. @throws KilovoltError `KV_STORAGE` */
  remove(gone: readonly ClusterId[]): Promise<void> {
    return this.#change(clusters => clusters.filter(cluster => !gone.includes(cluster)))
  }

  #change(change: (clusters: readonly ClusterId[]) => readonly ClusterId[]): Promise<void> {
    const changed = this.#changing.then(async () => {
      const clusters = change(this.#clusters)
      if (clusters.length === this.#clusters.length) return
      const written: StoreChange =
        clusters.length === 0
          ? { key: FORMER_KEY, value: undefined }
          : seal(FORMER_KEY, writeClusters(new Writer(64), clusters).finish())
      await this.#store.batch([written], { sync: true })
      this.#clusters = clusters
    })
    this.#changing = changed.catch(() => {})
    return changed
  }
}

/** Were it taken for none, what the store holds would pass for this cluster's own, though nobody here has settled it. */
function corrupt(why: string): KilovoltError {
  return new KilovoltError(
    'KV_CORRUPT',
    `the note of the clusters that this node was in cannot be trusted (it ${why}): restore the store from a copy, or ` +
      'start this node with an empty one: it then joins anew, without what it alone has brought along'
  )
}
