/** A seed in which something was wrong once. What it does changes with the code; it stays for what it was drawn from. */
export interface Regression {
  readonly scenario: string
  readonly seed: number
  /** What was wrong, and what mended it. */
  readonly reason: string
}

export const regressions: readonly Regression[] = [
  {
    scenario: 'late',
    seed: 43,
    reason:
      'a quorum read that spanned a purge brought the deleted value back: whoever has nothing now says up to where'
  },
  {
    scenario: 'swarm',
    seed: 271,
    reason: 'copies were compared while one of them was being purged: only equal, finished horizons are'
  },
  {
    scenario: 'churn',
    seed: 176,
    reason: 'a copy that rested when its node stopped left its timer behind'
  },
  {
    scenario: 'merge',
    seed: 33,
    reason: 'a deletion was purged while somebody from the other cluster still held the value, and brought it back'
  },
  {
    scenario: 'merge',
    seed: 53,
    reason:
      'as 33, with a node that was restarted on its way: all who may come are members before the first of them moves'
  },
  {
    scenario: 'merge',
    seed: 133,
    reason:
      'a node followed the log of its old cluster for a moment after it had begun in the new one, and never announced it'
  },
  {
    scenario: 'refound',
    seed: 1,
    reason:
      'four clusters of one ancestor took each other’s members for their own, and moved partitions to them for ever'
  },
  {
    scenario: 'refound',
    seed: 5,
    reason: 'a cluster expected another one for ever that had gone elsewhere'
  },
  {
    scenario: 'siblings',
    seed: 60_218,
    reason:
      'an owner that was asked again after it was restarted minted a write anew that was replaced meanwhile: it says that it forgot'
  },
  {
    scenario: 'watch',
    seed: 71097,
    reason:
      'a node that left took along a write that watches had been told of, as it came after the copies: they are compared again'
  },
  {
    scenario: 'watch',
    seed: 72023,
    reason:
      'who read anew after a reset did not find what a single copy had, and was not told of it again: the last versions of what is dropped are kept'
  },
  {
    scenario: 'watch',
    seed: 72121,
    reason:
      'the next owner to feed a partition told what had arrived there before, which was told, settled and forgotten'
  },
  {
    scenario: 'watch',
    seed: 73140,
    reason: 'a watch that caught up kept an old version behind a reset, after which what is old is told no further'
  },
  {
    scenario: 'watch',
    seed: 79247,
    reason:
      'what a node owned again while it was deleted there was found to be copied already, and was missing afterwards'
  }
]
