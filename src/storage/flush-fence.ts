import { createDeferred, type Deferred } from '../base/deferred.ts'

/** What has entered since the fence before, and who waits for it. */
export interface FenceGroup {
  outstanding: number
  waiting: Deferred<void> | undefined
}

/** Tells when everything that had entered by some moment has left, in whatever order it leaves. */
export class FlushFence {
  #open: FenceGroup = { outstanding: 0, waiting: undefined }
  /** Groups that take nothing new and are waited for, oldest first; none is empty but for those behind the first. */
  #closed: FenceGroup[] = []

  /** Counts one in; the group is to be given back to {@link leave}. */
  enter(): FenceGroup {
    this.#open.outstanding++
    return this.#open
  }

  leave(group: FenceGroup): void {
    group.outstanding--
    if (group.outstanding > 0) return
    while (this.#closed[0]?.outstanding === 0) this.#closed.shift()!.waiting!.resolve()
  }

  /** Resolves when all that have entered before this call have left. */
  passed(): Promise<void> {
    if (this.#open.outstanding > 0) {
      this.#open.waiting = createDeferred()
      this.#closed.push(this.#open)
      this.#open = { outstanding: 0, waiting: undefined }
    }
    return this.#closed.at(-1)?.waiting?.promise ?? Promise.resolve()
  }
}
