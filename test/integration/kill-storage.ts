/** First message of the writing process. */
export interface Opened {
  readonly kind: 'opened'
  readonly storeId: string
  readonly openedClean: boolean
}

/** A write that the process was told to be durable. */
export interface Acknowledged {
  readonly kind: 'acknowledged'
  readonly key: string
  readonly partition: number
  readonly number: number
  readonly hlc: number
}
