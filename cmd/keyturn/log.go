package main

import (
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger logs JSON to standard error, or lines for people.
func newLogger(level string, readable bool) (*zap.Logger, error) {
	logger, _, err := newLeveledLogger(level, readable)
	return logger, err
}

// newLeveledLogger is newLogger with the level that can be changed later.
func newLeveledLogger(level string, readable bool) (*zap.Logger, *zap.AtomicLevel, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, nil, fmt.Errorf("log level %q: %w", level, err)
	}
	c := zap.NewProductionConfig()
	if readable {
		c = zap.NewDevelopmentConfig()
		c.EncoderConfig.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		c.DisableCaller = true
	} else {
		c.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	}
	c.Sampling = nil
	c.DisableStacktrace = true
	c.Level = zap.NewAtomicLevelAt(parsed)
	logger, err := c.Build()
	return logger, &c.Level, err
}
