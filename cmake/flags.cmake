# Warnings and hardening (each flag is probed, so that one file serves old and new compilers), and the sanitizers.
include(CheckCCompilerFlag)
include(CheckLinkerFlag)

add_library(provision_flags INTERFACE)
target_compile_definitions(provision_flags INTERFACE _GNU_SOURCE PROVISION_VERSION="${PROJECT_VERSION}")
target_include_directories(provision_flags INTERFACE ${CMAKE_SOURCE_DIR})

function(provision_compile_flag flag)
  string(MAKE_C_IDENTIFIER "HAVE_C${flag}" known)
  set(CMAKE_REQUIRED_FLAGS "-Werror -Wformat") # an unknown -W option must count as absent
  check_c_compiler_flag("${flag}" ${known})
  if(${known})
    target_compile_options(provision_flags INTERFACE "${flag}")
  endif()
endfunction()

function(provision_link_flag flag)
  string(MAKE_C_IDENTIFIER "HAVE_L${flag}" known)
  check_linker_flag(C "${flag}" ${known})
  if(${known})
    target_link_options(provision_flags INTERFACE "${flag}")
  endif()
endfunction()

foreach(flag
    -Wall -Wextra -Wpedantic -Wformat=2 -Wformat-overflow=2 -Wconversion -Wsign-conversion -Wshadow -Wvla -Wundef
    -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wimplicit-fallthrough
    -Wdouble-promotion -Wnull-dereference -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Walloca
    -Warray-bounds=2 -Wstringop-overflow=4 -Wuse-after-free=3 -Wtrampolines -Wbidi-chars=any
    -Wframe-larger-than=65536 -Wdate-time -Wunused-result -Wno-format-truncation
    -Werror=format-security -Werror=implicit -Werror=incompatible-pointer-types -Werror=int-conversion
    -Werror=return-type
    -fstack-protector-strong -fstack-clash-protection -fcf-protection=full -fstrict-flex-arrays=3
    -ftrivial-auto-var-init=zero -fzero-init-padding-bits=all -fno-delete-null-pointer-checks
    -fno-strict-aliasing -fno-common -fexceptions
    "-ffile-prefix-map=${CMAKE_SOURCE_DIR}=.")
  provision_compile_flag("${flag}")
endforeach()
# It makes overflow of signed numbers defined, which takes it out of UBSan's sight.
if(NOT PROVISION_SANITIZE)
  provision_compile_flag(-fno-strict-overflow)
endif()
foreach(flag -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,separate-code -Wl,--as-needed
    -Wl,--no-copy-dt-needed-entries -static-libgcc)
  provision_link_flag("${flag}")
endforeach()

if(PROVISION_WERROR)
  target_compile_options(provision_flags INTERFACE -Werror)
endif()
if(PROVISION_SANITIZE)
  target_compile_options(provision_flags INTERFACE -fsanitize=${PROVISION_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer -U_FORTIFY_SOURCE)
  target_link_options(provision_flags INTERFACE -fsanitize=${PROVISION_SANITIZE})
else()
  target_compile_options(provision_flags INTERFACE
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
endif()

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()
